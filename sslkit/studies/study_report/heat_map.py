"""A heat map with its numbers, as figure 5 of the SimCLR paper: rows the first axis, columns the second, means apart.

Enters: a grid. Leaves: a panel. Called by `charts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sslkit.page import escape
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.colours import LEVELS
from sslkit.studies.study_report.grids import Grid
from sslkit.studies.study_report.svg import Panel, cut, text, width_of

_SIDE: Final = 42.0  # of a cell
_HIGH: Final = 36.0
_MOST_LEFT: Final = 96.0  # for the names of rows
_MOST_BELOW: Final = 76.0  # for those of columns, when they are too wide to stand upright
_APART: Final = 12.0  # between the cells and their means
_SCALE: Final = 128.0  # how wide the scale of colours is


def heat_map(grid: Grid, summary: str) -> Panel:
    """Return a panel of coloured cells with their numbers.

    Args:
        grid: Of one measure.
        summary: Plain text.
    """
    left = 34 + min(max((width_of(_row(row)) for row in grid.rows), default=0), _MOST_LEFT)
    across = [
        left + _SIDE * number + (_APART if grid.mean_column and number == len(grid.columns) - 1 else 0)
        for number in range(len(grid.columns))
    ]
    right, bottom = max(across, default=left) + _SIDE, 4 + _HIGH * len(grid.rows)
    values = [cell.drawn for row in grid.cells for cell in row if cell.value is not None]
    low, high = (min(values), max(values)) if values else (math.nan, math.nan)
    words = {cell.number(cell.value, 1) for row in grid.cells for cell in row}
    size = 11.0 if max(map(width_of, words), default=0) < _SIDE - 6 else 9.0
    parts = []
    square = grid.columns[: len(grid.rows)] == tuple(_row(row) for row in grid.rows)
    for number, (row, cells) in enumerate(zip(grid.rows, grid.cells, strict=True)):
        top = 4 + _HIGH * number
        parts.append(text(left - 7, top + _HIGH / 2 + 4, cut(_row(row), _MOST_LEFT), "ink", anchor="end"))
        for place, (column, cell) in enumerate(zip(grid.columns, cells, strict=True)):
            ring = square and place == number
            parts.append(
                ""
                if cell.is_blank
                else _cell(cell, f"{_row(row)}, {column}", across[place], top, low, high, size, ring=ring)
            )
    below, height = _columns(grid, across, bottom)
    parts += [below, text(12, bottom / 2, cut(grid.row_axes[0], bottom), anchor="middle", turn=-90)]
    foot = bottom + height + 16
    parts.append(text((left + right) / 2, foot, cut(grid.column_axis, right), anchor="middle"))
    parts.append(_scale(low, high, grid, left, foot + 12))
    return Panel(grid.title, summary, max(right, left + _SCALE + 120) + 8, foot + 48, "".join(parts))


def _row(row: Sequence[str]) -> str:
    return ", ".join(row)


def _cell(cell: Cell, name: str, x: float, y: float, low: float, high: float, size: float, *, ring: bool) -> str:
    """Return one cell, with all that is known of it for whoever points at it."""
    told = ", ".join(part for part in (f"{name}: {cell.shown()}", cell.sure, cell.problem) if part)
    box = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{_SIDE - 2:.1f}" height="{_HIGH - 2:.1f}" rx="3"'
    middle = (x + _SIDE / 2, y + _HIGH / 2 + 4)
    if cell.value is None:
        mark, look = ("✗", "bad") if cell.failed else ("–", "")
        inner = f'<rect class="hole" {box}/>{text(*middle, mark, look, anchor="middle")}'
    else:
        level = round((cell.drawn - low) / (high - low) * (LEVELS - 1)) if high > low else LEVELS // 2
        inner = f'<rect class="q{level}" {box}/>'
        look = f"t{level}{' recalled' if cell.recalled else ''}"
        number = cell.number(cell.value, 1) + ("*" if cell.problem else "")
        inner += text(*middle, number, look, anchor="middle", size=size)
        if ring:
            inner += f'<rect class="ring" {box}/>'
    return f"<g><title>{escape(told)}</title>{inner}</g>"


def _columns(grid: Grid, across: Sequence[float], bottom: float) -> tuple[str, float]:
    """Return the names of the columns, slanting if they are wide, and how high they are."""
    widest = max(map(width_of, grid.columns), default=0.0)
    parts = []
    for number, (name, x) in enumerate(zip(grid.columns, across, strict=True)):
        look = "faint" if grid.mean_column and number == len(across) - 1 else "ink"
        if widest <= _SIDE - 2:
            parts.append(text(x + _SIDE / 2, bottom + 16, name, look, anchor="middle"))
        else:
            shown = cut(name, _MOST_BELOW / 0.71)
            parts.append(text(x + _SIDE / 2 + 5, bottom + 13, shown, look, anchor="end", turn=-40))
    slanting = min(widest, _MOST_BELOW / 0.71) * 0.64
    return "".join(parts), 18.0 if widest <= _SIDE - 2 else slanting + 14


def _scale(low: float, high: float, grid: Grid, left: float, y: float) -> str:
    """Return the scale of colours with its ends."""
    if not high > low:
        return ""
    cell = Cell(None, "%" in grid.values)
    ends = [cell.number(end / cell.factor, 1) for end in (low, high)]
    start = left + width_of(ends[0]) + 6
    step = _SCALE / LEVELS
    boxes = "".join(
        f'<rect class="q{level}" x="{start + level * step:.1f}" y="{y:.1f}" width="{step + 0.4:.1f}" height="9"/>'
        for level in range(LEVELS)
    )
    after = start + _SCALE + 6
    return (
        text(start - 6, y + 9, ends[0], anchor="end") + boxes + text(after, y + 9, ends[1])
        + text(start, y + 24, cut(grid.values, 220))
    )  # fmt: skip
