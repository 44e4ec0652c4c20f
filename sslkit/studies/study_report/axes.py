"""Axes, marks and words that the bars, lines and points of a study have in common.

Enters: cells. Leaves: axes, and SVG. Called by `bars`, `lines` and `scatter`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from sslkit.studies.charts import Axis, short
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.grids import Grid
from sslkit.studies.study_report.svg import cut, text, width_of

WIDTH: Final = 400.0  # of a panel, SVG units
LEFT: Final = 44.0  # where what is drawn begins
TOP: Final = 26.0
HIGH: Final = 220.0  # of what is between the axes
MOST_LABEL: Final = 110.0  # of a name beside a mark
_LETTERS: Final = 180.0  # of a name that does not fit below the axis upright


def mark(x: float, y: float, number: int, fill: str) -> str:
    """Return a point of a series: its shape tells it from others, as its colour does.

    Args:
        x: Its middle, SVG units.
        y: Its middle.
        number: Of the series, from 0.
        fill: CSS colour.
    """
    shapes = (
        f"M{x - 3.6:.1f} {y:.1f}a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0 -7.2 0Z",
        f"M{x - 3.4:.1f} {y - 3.4:.1f}h6.8v6.8h-6.8Z",
        f"M{x:.1f} {y - 4.6:.1f}l4.4 7.8h-8.8Z",
        f"M{x:.1f} {y - 4.8:.1f}l4.8 4.8l-4.8 4.8l-4.8 -4.8Z",
    )
    return f'<path class="point" fill="{fill}" d="{shapes[number % len(shapes)]}"/>'


def told(name: str, cell: Cell) -> str:
    """Return all that is known of a cell, for whoever points at its mark.

    Args:
        name: What it is, plain text.
        cell: With or without a value.
    """
    return ", ".join(part for part in (f"{name}: {cell.shown()}", cell.sure, cell.problem) if part)


def reach(cell: Cell) -> tuple[float, ...]:
    """Return a value and the ends of its error bar.

    Args:
        cell: With a value.
    """
    return (cell.drawn, *(cell.bar or ()))


def ends_of(grid: Grid) -> list[float]:
    """Return all values of a grid, and the ends of their error bars.

    Args:
        grid: Of one unit.
    """
    return [end for row in grid.cells for cell in row if cell.value is not None for end in reach(cell)]


def upright(ends: Sequence[float], top: float, *, zero: bool = False) -> Axis:
    """Return the upright axis of some numbers.

    Args:
        ends: Numbers that are to lie on it.
        top: Where it ends, SVG units.
        zero: It begins at 0.
    """
    return axis_of([*ends, 0.0] if zero else ends, top + HIGH, top)


def axis_of(ends: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis of some numbers that ends at ticks; of a single number with room on both sides.

    Args:
        ends: Numbers that are to lie on it; may be empty.
        start: Where it begins, SVG units.
        end: Where it ends.
    """
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if low == high:
        low, high = low - max(abs(low) * 0.05, 1e-9), high + max(abs(high) * 0.05, 1e-9)
    return Axis.of(low, high, start, end, whole=True)


def rules(y: Axis, right: float, title: str, top: float) -> Iterable[str]:
    """Yield the lines and numbers of the upright axis, and above them what it is.

    Args:
        y: The axis.
        right: Where its lines end.
        title: Plain text.
        top: Where the axis ends.
    """
    yield text(4, top - 12, cut(title, right), "ink")
    for tick in y.ticks:
        at = float(y.at(tick))
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{right:.1f}"/>'
        yield text(LEFT - 6, at + 4, short(tick), anchor="end")


def names_below(
    names: Sequence[str], centres: Sequence[float], room: float, y: float, *, few: bool = False
) -> tuple[str, float, float]:
    """Return names below an axis, how high they are, and how far they reach beyond the left: slanting where too wide.

    Args:
        names: Plain texts.
        centres: Where each belongs.
        room: For each.
        y: Of the axis.
        few: Numbers that lie close are left out instead of slanting.
    """
    widest = max(map(width_of, names), default=0.0)
    numbers = all(name.replace(".", "", 1).replace("/", "", 1).isdecimal() for name in names)
    if widest <= room or (few and numbers):
        parts, last = [], -math.inf
        for name, x in zip(names, centres, strict=True):
            if x - width_of(name) / 2 > last + 4 or widest <= room:
                parts.append(text(x, y + 16, name, anchor="middle"))
                last = x + width_of(name) / 2
        return "".join(parts), 18.0, 0.0
    # At 55 degrees a name reaches 0.57 of its width to the left, and 0.82 down.
    shown = [(x, cut(name, _LETTERS)) for name, x in zip(names, centres, strict=True)]
    parts = [text(x + 4, y + 13, name, anchor="end", turn=-55) for x, name in shown]
    beyond = max(0.0, *(0.57 * width_of(name) - x for x, name in shown))
    return "".join(parts), 0.82 * max(width_of(name) for _, name in shown) + 14, beyond
