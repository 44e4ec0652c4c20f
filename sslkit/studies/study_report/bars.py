"""Bars of a study in groups, each with its number and its error bar.

Enters: a grid. Leaves: a panel. Called by `charts`. Error bars are one deviation between seeds to both sides, of
a single run its 95 % bootstrap interval.
"""

from __future__ import annotations

from typing import Final

from sslkit.page import escape
from sslkit.studies.charts import Axis
from sslkit.studies.study_report.axes import HIGH, LEFT, WIDTH, ends_of, names_below, rules, told, upright
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.grids import Grid
from sslkit.studies.study_report.svg import Panel, colour, samples, text, width_of

_BAR: Final = 26.0  # of one bar, at most: its number fits above it
_NARROW: Final = 15.0  # of one of many, whose numbers are turned
_FEW: Final = 14  # more wide ones would be wider than half a page


def bars(grid: Grid, summary: str) -> Panel:
    """Return groups of bars, a group for each column and a bar for each row; they begin at 0.

    Args:
        grid: Of one unit.
        summary: Plain text.
    """
    series = len(grid.rows)
    wanted = _BAR if len(grid.columns) * series <= _FEW else _NARROW
    width = max(WIDTH, LEFT + 12 + len(grid.columns) * (series * wanted + 12))
    group = (width - LEFT - 12) / max(len(grid.columns), 1)
    bar = min(_BAR, (group - 8) / max(series, 1))
    numbers = (cell.number(cell.value, 1) for _, cell in grid.named() if cell.value is not None)
    is_turned = max((width_of(number, 10) for number in numbers), default=0.0) > bar - 3  # or neighbours touch
    legend, top = _legend(grid, width)
    top += 26
    y = upright(ends_of(grid), top, zero=True)
    zero = float(y.at(0.0))
    parts = [legend, *rules(y, width - 8, grid.values, top)]
    centres = [LEFT + group * (number + 0.5) for number in range(len(grid.columns))]
    for number, cells in enumerate(zip(*grid.cells, strict=True)):
        there = [(place, cell) for place, cell in enumerate(cells) if not cell.is_blank]
        start = centres[number] - bar * len(there) / 2
        for position, (place, cell) in enumerate(there):
            name = ", ".join(part for part in (*grid.rows[place], grid.columns[number]) if part)
            x, fill = start + bar * position, colour(grid.series[place])
            parts.append(_bar(cell, name, x, bar, y, zero, fill, is_turned=is_turned))
    parts.append(f'<path class="base" d="M{LEFT} {zero:.1f}H{width - 8:.1f}"/>')
    names, height, beyond = names_below(grid.columns, centres, group - 4, top + HIGH)
    parts += [names, text((LEFT + width) / 2, top + HIGH + height + 14, grid.column_axis, anchor="middle")]
    return Panel(grid.title, summary, width, top + HIGH + height + 22, "".join(parts)).widened(beyond)


def _legend(grid: Grid, width: float) -> tuple[str, float]:
    """Return the names of the bars, and how high they are."""
    if len(grid.rows) < 2:
        return "", 4.0
    names = [(number, row[0]) for number, row in zip(grid.series, grid.rows, strict=True)]
    return samples(grid.row_axes[0], names, 4, width - 8, 0)


def _bar(cell: Cell, name: str, x: float, width: float, y: Axis, zero: float, fill: str, *, is_turned: bool) -> str:
    middle = x + width / 2
    if cell.value is None:
        mark, look = ("✗", "bad") if cell.failed else ("–", "")
        return f"<g><title>{escape(told(name, cell))}</title>{text(middle, zero - 4, mark, look, anchor='middle')}</g>"
    end = float(y.at(cell.drawn))
    top, height = min(end, zero), abs(end - zero)
    inner = (
        f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" height="{height:.1f}" rx="1.5" fill="{fill}"/>'
    )
    if cell.bar is not None:
        high, low = (float(y.at(value)) for value in (cell.bar[1], cell.bar[0]))
        inner += (
            f'<path class="whisker over" d="M{middle:.1f} {high:.1f}V{low:.1f}m-3 0h6M{middle - 3:.1f} {high:.1f}h6"/>'
        )
        top = min(top, high)
    number = cell.number(cell.value, 1)
    look = "ink recalled" if cell.recalled else "ink"
    if not is_turned:
        inner += text(middle, top - 4, number, look, anchor="middle", size=10)
    elif width >= 10:
        inner += text(middle + 3.5, top - 4, number, look, size=10, turn=-90)
    return f"<g><title>{escape(told(name, cell))}</title>{inner}</g>"
