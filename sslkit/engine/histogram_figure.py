"""The histograms of a preview as one picture in two panels, as figure 6 of Chen et al. 2020 shows them.

Enters: panels of crops with their histograms. Leaves: SVG that needs no other file, for papers and pages. Called by
`preview_page`, which draws its charts with the same bars.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from PIL import Image

from sslkit.engine.histograms import BINS, Crop, Panel
from sslkit.page import escape

_CUT: Final = 98  # percentile of all bars at which charts end: one white sky must not flatten the others
_CELL: Final = 84  # width of a crop and of its chart, SVG units
_CHART: Final = 52  # height of a chart
_GAP: Final = 8
_TITLE: Final = 24
_TICKS: Final = 14
_BETWEEN: Final = 36  # panels
_MARGIN: Final = 34  # on the left, for the numbers of the axis
_FONT: Final = "font-family=\"system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif\""


def figure_svg(panels: Sequence[Panel]) -> str:
    """Return the panels side by side: a row of crops for each image, a chart below each, all axes alike.

    Args:
        panels: One or two, of the same number of rows and crops.
    """
    top = axis_end(panels)
    rows, crops = len(panels[0].rows), len(panels[0].rows[0])
    panel_width = crops * (_CELL + _GAP) - _GAP
    row_height = _CELL + _GAP // 2 + _CHART + _TICKS
    width = _MARGIN + len(panels) * (panel_width + _BETWEEN) - _BETWEEN + _GAP
    height = _TITLE + rows * (row_height + _GAP)
    parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for number, panel in enumerate(panels):
        left = _MARGIN + number * (panel_width + _BETWEEN)
        parts.append(f'<text x="{left}" y="15" font-size="13" font-weight="600">{escape(panel.title)}</text>')
        for row, of_image in enumerate(panel.rows):
            at = _TITLE + row * (row_height + _GAP)
            parts += _scale(left, at + _CELL + _GAP // 2, top)
            for column, crop in enumerate(of_image):
                parts += _cell(crop, left + column * (_CELL + _GAP), at, top)
    words = "Histograms of intensity of several crops of each image: " + "; ".join(panel.title for panel in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" {_FONT} fill="#222"><title>{escape(words)}</title>{"".join(parts)}</svg>\n'
    )


def axis_end(panels: Iterable[Panel]) -> float:
    """Return the share of the values at which all charts of some panels end."""
    shares = [crop.shares for panel in panels for row in panel.rows for crop in row]
    return float(np.percentile(shares, _CUT)) or 1.0


def bars(shares: Iterable[float], top: float, height: float) -> str:
    """Return a histogram as the path of its outline, one unit wide for each bin, from its lower left corner on.

    Args:
        shares: Of the values, one for each bin.
        top: The share at which a bar is as high as the chart; taller ones are cut.
        height: Of the chart.
    """
    heights = (height * (1 - min(share / top, 1.0)) for share in shares)
    return f"M0 {height:g}{''.join(f'V{level:.1f}h1' for level in heights)}V{height:g}Z"


def _cell(crop: Crop, left: float, top: float, most: float) -> Iterator[str]:
    look = "image-rendering: pixelated" if max(crop.picture.size) < _CELL else ""
    yield (
        f'<image x="{left}" y="{top}" width="{_CELL}" height="{_CELL}" preserveAspectRatio="xMidYMid" '
        f'style="{look}" href="{_data(crop.picture)}"/>'
    )
    below = top + _CELL + _GAP // 2
    yield (
        f'<g transform="translate({left} {below}) scale({_CELL / BINS:g} 1)" fill="#0b5ea8">'
        f'<path d="{bars(crop.shares, most, _CHART)}"/></g>'
        f'<path d="M{left} {below + _CHART}h{_CELL}" stroke="#222" stroke-width="0.8"/>'
    )
    for number, anchor, at in ((0, "start", left), (1, "end", left + _CELL)):
        where = f'x="{at}" y="{below + _CHART + 10}" text-anchor="{anchor}"'
        yield f'<text {where} font-size="8" fill="#666">{number}</text>'


def _scale(left: float, top: float, most: float) -> Iterator[str]:
    for share, at in ((most, top + 7), (0.0, top + _CHART)):
        yield f'<text x="{left - 4}" y="{at}" font-size="8" text-anchor="end" fill="#666">{share:.1%}</text>'


def _data(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((2 * _CELL, 2 * _CELL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
