"""Points of a study by two measures, each named, with error bars both ways; families of them have colours.

Enters: a grid. Leaves: a panel. Called by `charts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sslkit.page import escape
from sslkit.studies.charts import short
from sslkit.studies.study_report.axes import HIGH, LEFT, MOST_LABEL, TOP, WIDTH, axis_of, mark, reach, rules, upright
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.grids import Grid
from sslkit.studies.study_report.svg import Panel, colour, cut, samples, text, width_of

_Box = tuple[float, float, float, float]  # left, top, right, bottom


def scatter(grid: Grid, summary: str) -> Panel:
    """Return a named point for each row: the first column across, the second upwards.

    Args:
        grid: Of two measures.
        summary: Plain text.
    """
    drawn = [
        (number, row, cells[0], cells[1])
        for number, (row, cells) in enumerate(zip(grid.rows, grid.cells, strict=True))
        if _both(cells)
    ]
    legend, high = _legend(grid) if grid.family_axis else ("", 0.0)
    top = TOP + high
    y = upright([end for *_, cell in drawn for end in reach(cell)], top)
    x = axis_of([end for *_, cell, _ in drawn for end in reach(cell)], LEFT, WIDTH - 14)
    parts = [legend, *rules(y, WIDTH - 8, grid.columns[1], top)]
    for tick in x.ticks:
        at = float(x.at(tick))
        parts.append(f'<path class="grid" d="M{at:.1f} {top:.1f}V{top + HIGH:.1f}"/>')
        parts.append(text(at, top + HIGH + 16, short(tick), anchor="middle"))
    points, bars = [], []
    for number, row, a, b in drawn:
        left, height = float(x.at(a.drawn)), float(y.at(b.drawn))
        points.append((left, height))
        ends = [float(x.at(end)) for end in a.bar or ()], [float(y.at(end)) for end in b.bar or ()]
        bars += [(ends[0][0], height - 2, ends[0][1], height + 2)] if ends[0] else []
        bars += [(left - 2, ends[1][1], left + 2, ends[1][0])] if ends[1] else []
        across = f"M{ends[0][0]:.1f} {height:.1f}H{ends[0][1]:.1f}" if ends[0] else ""
        upwards = f"M{left:.1f} {ends[1][0]:.1f}V{ends[1][1]:.1f}" if ends[1] else ""
        words = f"{', '.join(row)}: {grid.columns[0]} {a.shown()}, {grid.columns[1]} {b.shown()}"
        family = grid.series[number] if grid.family_axis else 0
        stroke = colour(family)
        path = f'<path class="whisker" stroke="{stroke}" d="{across}{upwards}"/>' if across or upwards else ""
        parts.append(f"<g><title>{escape(words)}</title>{path}{mark(left, height, family, stroke)}</g>")
    parts += _names(points, [_name(grid, row) for _, row, _, _ in drawn], bars)
    parts.append(text((LEFT + WIDTH) / 2, top + HIGH + 32, grid.columns[0], anchor="middle"))
    return Panel(grid.title, summary, WIDTH, top + HIGH + 40, "".join(parts))


def _legend(grid: Grid) -> tuple[str, float]:
    """Return the names of the families, and how high they are."""
    names = dict(zip(grid.series, (family for (family,) in grid.families), strict=True))
    return samples(grid.family_axis, list(names.items()), 4, WIDTH - 8, 0)


def _name(grid: Grid, row: Sequence[str]) -> str:
    """Return what stands beside a point: what its colour does not say."""
    return ", ".join(part for axis, part in zip(grid.row_axes, row, strict=True) if axis != grid.family_axis)


def _both(cells: Sequence[Cell]) -> bool:
    return cells[0].value is not None and cells[1].value is not None


def _names(points: Sequence[tuple[float, float]], names: Sequence[str], bars: Sequence[_Box]) -> Iterable[str]:
    """Yield the names of points, each on the side on which it lies over the least."""
    taken = [*bars, *((x - 5, y - 5, x + 5, y + 5) for x, y in points)]
    for (x, y), full in zip(points, names, strict=True):
        name = cut(full, MOST_LABEL)
        wide = width_of(name)
        best: tuple[float, _Box] | None = None
        for left, low in ((x + 8, y + 4), (x - 8 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 17),
                          (x + 7, y - 7), (x + 7, y + 14), (x - 7 - wide, y - 7), (x - 7 - wide, y + 14)):  # fmt: skip
            box = (left, low - 9, left + wide, low + 2)
            outside = max(LEFT - left, 0) + max(left + wide - WIDTH + 2, 0)
            cost = sum(_shared(box, other) for other in taken) + 100 * outside
            if best is None or cost < best[0]:
                best = (cost, box)
        assert best is not None
        taken.append(best[1])
        yield text(best[1][0], best[1][1] + 9, name, "ink")


def _shared(a: _Box, b: _Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
