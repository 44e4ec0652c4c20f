"""A preview as people look at it: a grid of pictures as PNG, and a page with what was drawn for each view.

Enters: a `Preview`. Leaves: `PREFIX.png` and `PREFIX.html`, which needs no other file, and with histograms their figure
as `PREFIX.svg`. Called by the `preview` command.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from sslkit.engine.histogram_figure import axis_end, bars, figure_svg
from sslkit.engine.histograms import BINS, Crop, Panel
from sslkit.engine.preview import Preview, Shown
from sslkit.errors import RunError
from sslkit.page import escape, figure, grid, page, picture, table
from sslkit.run_folder import write_text

GAP: Final = 4
"""Pixels between the pictures of the grid, and around it."""

_LEAST_SIDE: Final = 160  # pixels; smaller views are enlarged by a whole factor, so that each pixel stays one square
_CHART_HEIGHT: Final = 40  # in units of one bin's width


def write_preview(preview: Preview, prefix: Path) -> list[Path]:
    """Write the grid, the page and, where there are histograms, their figure.

    Args:
        preview: What to show.
        prefix: The files' path without their suffix.

    Returns:
        Their paths.

    Raises:
        RunError: One cannot be written.
    """
    suffixes = (".png", ".html", *([".svg"] if preview.panels else []))
    paths = [prefix.with_name(prefix.name + suffix) for suffix in suffixes]
    png = io.BytesIO()
    contact_sheet(preview).save(png, format="PNG")
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        paths[0].write_bytes(png.getvalue())
        write_text(paths[1], preview_page(preview))
        if preview.panels:
            write_text(paths[2], figure_svg(preview.panels))
    except OSError as error:
        raise RunError(f"{prefix}: cannot be written ({error.strerror}); say -o PREFIX") from None
    return paths


def contact_sheet(preview: Preview) -> Image.Image:
    """Return a row of pictures for each image: the original, then its views, enlarged by a whole factor if small."""
    factor = _enlargement(preview)
    rows = [
        [_enlarged(*_original(image, factor)), *(_enlarged(view, factor) for view in image.views)]
        for image in preview.images
    ]
    widths = [max(row[column].width for row in rows) for column in range(len(rows[0]))]
    heights = [max(cell.height for cell in row) for row in rows]
    size = (sum(widths) + GAP * (len(widths) + 1), sum(heights) + GAP * (len(heights) + 1))
    sheet = Image.new("RGB", size, "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        left = GAP
        for cell, width in zip(row, widths, strict=True):
            sheet.paste(cell.convert("RGB"), (left + (width - cell.width) // 2, top + (height - cell.height) // 2))
            left += width + GAP
        top += height + GAP
    return sheet


def preview_page(preview: Preview) -> str:
    """Return the HTML page."""
    numbers = ", ".join(str(image.index) for image in preview.images)
    lead = (
        f"What <code>{escape(preview.generator)}</code> makes of images {numbers} with seed {preview.seed} in epoch "
        f"{preview.epoch}: the views that pretraining sees, before any normalisation."
    )
    notes = list(preview.notes)
    if any(image.parameters is None for image in preview.images):
        notes.append(f"What was drawn is not shown: {preview.generator} does not name its parameters.")
    body = [f"<p>{lead}</p>", *(f"<p>{escape(note)}</p>" for note in notes)]
    factor = _enlargement(preview)
    for image in preview.images:
        body += _section(image, factor)
    if preview.panels or preview.about_colour:
        body += _histograms(preview)
    body += ["<h2>Options of the views</h2>", _options(preview.generator, preview.options)]
    return page(f"Views of {preview.recipe}", "\n".join(body))


def _section(image: Shown, factor: int) -> Iterator[str]:
    yield f"<h3>Image {image.index}</h3>"
    words = [image.label, image.name, f"{image.size[0]} × {image.size[1]} pixels"]
    yield f'<p class="quiet">{escape(" · ".join(filter(None, words)))}</p>'
    if image.bad:
        instead = f"Image {image.index} cannot be read ({image.bad}); pretraining sees {image.name} instead."
        yield f'<p class="alarm">{escape(instead)}</p>'
    original, times = _original(image, factor)
    figures = [figure(picture(original, f"image {image.index}", enlarge=times), "original")]
    for number, view in enumerate(image.views, 1):
        drawn = image.parameters[number - 1] if image.parameters else {}
        lines = [f"view {number}, {view.width} × {view.height}", *(f"{name}: {text}" for name, text in drawn.items())]
        shown = picture(view, f"view {number} of image {image.index}", enlarge=factor)
        figures.append(figure(shown, "<br>".join(map(escape, lines))))
    widest = max(view.width for view in image.views) * factor
    yield grid(figures, width=f"{min(max(widest, _LEAST_SIDE), 256)}px")


def _histograms(preview: Preview) -> Iterator[str]:
    yield "<h2>Histograms of intensity</h2>"
    yield (
        "<p>Crops of one image share their colours: where histograms alone tell which crops belong together, a method "
        "may learn nothing else. Colour operations close that shortcut (Chen et al. 2020, figure 6). Each row shows "
        f"crops of one image, from epoch {preview.epoch} on; a chart counts the values of all channels, from black on "
        "the left to white on the right; below it are their mean and deviation.</p>"
    )
    if preview.about_colour:
        yield f"<p>{escape(preview.about_colour)}</p>"
    if not preview.panels:
        return
    top = axis_end(preview.panels)
    yield f'<p class="quiet">All charts end at {top:.1%} of the values; taller bars are cut.</p>'
    for panel in preview.panels:
        yield f"<h3>{escape(panel.title)}</h3>"
        for name, row in zip(preview.names, panel.rows, strict=True):
            yield f'<p class="quiet">{escape(name)}</p>'
            yield grid((_counted(crop, top) for crop in row), width="9rem")
    yield _overlap_table(preview.panels)


def _counted(crop: Crop, top: float) -> str:
    numbers = f"{crop.mean:.2f} ± {crop.deviation:.2f}"
    factor = max(1, _LEAST_SIDE // max(crop.picture.size))
    shown = picture(crop.picture, "a crop", enlarge=factor)
    return figure(shown + chart(crop.shares, top, f"histogram: {numbers}", width=crop.picture.width * factor), numbers)


def chart(shares: Iterable[float], top: float, label: str, *, width: int) -> str:
    """Return a histogram as inline SVG.

    Args:
        shares: Of the values, one for each bin.
        top: The share at which a bar is as high as the chart; taller ones are cut.
        label: What it shows, for those who cannot see it.
        width: In CSS pixels, if there is room.
    """
    look = f"display: block; width: {width}px; max-width: 100%; height: 4.5rem; margin-top: 0.4rem; fill: var(--accent)"
    return (
        f'<svg viewBox="0 0 {BINS} {_CHART_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}" '
        f'style="{look}; border-bottom: 1px solid"><path d="{bars(shares, top, _CHART_HEIGHT)}"/></svg>'
    )


def _overlap_table(panels: Iterable[Panel]) -> str:
    rows = [
        (panel.title, f"{panel.overlap_within:.2f}", "" if (other := panel.overlap_between) is None else f"{other:.2f}")
        for panel in panels
    ]
    return table(rows, ["overlap of two histograms (1: equal)", "crops of one image", "crops of different images"])


def _options(generator: str, options: Mapping[str, Any]) -> str:
    rows = [(name, json.dumps(value, ensure_ascii=False, default=str)) for name, value in options.items()]
    return table([("name", json.dumps(generator)), *rows], ["option", "value"])


def _enlargement(preview: Preview) -> int:
    return max(1, _LEAST_SIDE // _largest_side(preview.images))


def _largest_side(images: Iterable[Shown]) -> int:
    return max(max(view.size) for image in images for view in image.views)


def _original(image: Shown, factor: int) -> tuple[Image.Image, int]:
    """Return the original, made to fit beside its views, and how many times it is to be enlarged."""
    side = factor * _largest_side([image])
    small = image.original.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small, max(1, side // max(image.original.size))


def _enlarged(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
