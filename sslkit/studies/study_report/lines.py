"""Lines of a study over an axis of numbers, each named at its end, with error bars.

Enters: grids. Leaves: a panel. Called by `charts`. Error bars are one deviation between seeds to both sides, of a
single run its 95 % bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from sslkit.page import escape
from sslkit.recipe.axes import number_of
from sslkit.studies.charts import Axis, short
from sslkit.studies.study_report.axes import (
    HIGH,
    LEFT,
    MOST_LABEL,
    TOP,
    WIDTH,
    ends_of,
    mark,
    names_below,
    rules,
    told,
    upright,
)
from sslkit.studies.study_report.grids import Grid
from sslkit.studies.study_report.svg import Panel, colour, cut, text, width_of

_LINE: Final = 14.0  # from one name to the next


def lines(grid: Grid, summary: str, *, log: bool, dashed: Grid | None = None) -> Panel:
    """Return a line for each row, named at its end; a missing value is a gap.

    Args:
        grid: Of one unit. Without numbers its columns stand at equal distances.
        summary: Plain text.
        log: The axis of numbers is logarithmic.
        dashed: A reference's rows, to be drawn over them.
    """
    both = [part for part in (grid, dashed) if part is not None]
    ends = [end for part in both for end in ends_of(part)]
    y = upright(ends, TOP)
    named = [
        (part, number, ("" if part is grid else "ref. ") * (dashed is not None) + " ".join(row))
        for part in both
        for number, row in enumerate(part.rows)
    ]
    series = " ".join(grid.row_axes) if len(named) > 1 else ""
    label = min(max(width_of(name) for name in (series, *(name for _, _, name in named))), MOST_LABEL)
    right = WIDTH - 10 - label - (8 if label else 0)
    places = _places(both, right, log=log)
    parts, tails = [*rules(y, right, grid.values, TOP)], []
    for part, number, name in named:
        at = [places[key] for key in _keys(part)]
        shade = part.series[number]
        parts.append(_line(part, number, name, at, y, dash=part is dashed))
        drawn = [
            (x, float(y.at(cell.drawn)))
            for x, cell in zip(at, part.cells[number], strict=True)
            if cell.value is not None
        ]
        if drawn and name:
            tails.append((drawn[-1][0], drawn[-1][1], cut(name, MOST_LABEL), colour(shade)))
    parts += _tails(tails, right)
    parts.append(text(right + 6, TOP - 12, cut(series, label)))
    every = {key: _tick(key, name) for part in both for key, name in zip(_keys(part), part.columns, strict=True)}
    keys = sorted(every, key=lambda key: places[key])
    room = min((b - a for a, b in pairwise([places[key] for key in keys])), default=right - LEFT)
    names, height, beyond = names_below(
        [every[key] for key in keys], [places[key] for key in keys], room, TOP + HIGH, few=True
    )
    title = f"{grid.column_axis} (logarithmic)" if log and grid.numbers else grid.column_axis
    parts += [names, text((LEFT + right) / 2, TOP + HIGH + height + 14, title, anchor="middle")]
    return Panel(grid.title, summary, WIDTH, TOP + HIGH + height + 22, "".join(parts)).widened(beyond)


def _tick(key: float | str, name: str) -> str:
    """Return what stands below a column: its name, or its number if the name does not say one."""
    return name if isinstance(key, str) or number_of(name) is not None else short(key)


def _keys(grid: Grid) -> Sequence[float | str]:
    return grid.numbers or grid.columns


def _places(grids: Sequence[Grid], right: float, *, log: bool) -> dict[float | str, float]:
    """Return where each column lies across."""
    keys = list(dict.fromkeys(key for grid in grids for key in _keys(grid)))
    start, end = LEFT + 14, right - 14
    numbers = [key for key in keys if isinstance(key, float | int)]
    if len(numbers) == len(keys) > 1:
        axis = Axis(min(numbers), max(numbers), start, end, (), log=log and min(numbers) > 0)
        return {number: float(axis.at(float(number))) for number in numbers}
    return {key: start + (end - start) * (number + 0.5) / len(keys) for number, key in enumerate(keys)}


def _line(grid: Grid, number: int, name: str, at: Sequence[float], y: Axis, *, dash: bool) -> str:
    stroke, shade = colour(grid.series[number]), grid.series[number]
    path, parts = "", []
    for x, (column, cell) in zip(at, zip(grid.columns, grid.cells[number], strict=True), strict=True):
        words = told(", ".join(part for part in (name, column) if part), cell)
        if cell.value is None:
            path += " "
            if cell.failed:
                parts.append(
                    f"<g><title>{escape(words)}</title>{text(x, TOP + HIGH - 5, '✗', 'bad', anchor='middle')}</g>"
                )
            continue
        here = float(y.at(cell.drawn))
        path += f"{'L' if path and not path.endswith(' ') else 'M'}{x:.1f} {here:.1f}"
        whisker = ""
        if cell.bar is not None:
            low, high = (float(y.at(end)) for end in cell.bar)
            drawn = f"M{x:.1f} {high:.1f}V{low:.1f}m-3 0h6M{x - 3:.1f} {high:.1f}h6"
            whisker = f'<path class="whisker" stroke="{stroke}" d="{drawn}"/>'
        parts.append(f"<g><title>{escape(words)}</title>{whisker}{mark(x, here, shade, stroke)}</g>")
    dashes = ' stroke-dasharray="5 4"' if dash else ""
    joined = f'<path class="line" stroke="{stroke}"{dashes} d="{path.strip()}"/>' if path.strip() else ""
    return joined + "".join(parts)


def _tails(tails: Sequence[tuple[float, float, str, str]], right: float) -> Iterable[str]:
    """Yield the names at the ends of lines, moved apart where they would lie over each other."""
    order = sorted(range(len(tails)), key=lambda number: tails[number][1])
    heights = [tails[number][1] for number in order]
    for number in range(1, len(heights)):
        heights[number] = max(heights[number], heights[number - 1] + _LINE)
    over = max(heights[-1] - (TOP + HIGH), 0.0) if heights else 0.0
    for number in range(len(heights) - 1, -1, -1):
        heights[number] -= over
        over = min(over, max(over - (heights[number] - heights[number - 1] - _LINE), 0.0)) if number and over else 0.0
    for number, height in zip(order, heights, strict=True):
        x, y, name, stroke = tails[number]
        yield f'<path class="leader" d="M{x + 6:.1f} {y:.1f}L{right + 3:.1f} {height:.1f}"/>'
        yield f'<g style="fill: {stroke}">{text(right + 6, height + 4, name, "ink")}</g>'
