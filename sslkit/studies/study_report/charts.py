"""The charts of a study as panels, and what must be said below them.

Enters: charts, laid out. Leaves: panels, lines of text. Called by the pages and files of studies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from sslkit.studies.study_report.bars import bars
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.grids import OURS, Chart, Grid
from sslkit.studies.study_report.heat_map import heat_map
from sslkit.studies.study_report.lines import lines
from sslkit.studies.study_report.scatter import scatter
from sslkit.studies.study_report.svg import Panel
from sslkit.studies.study_report.tables import has_best
from sslkit.text import one_line

_MOST_REASONS: Final = 2  # for numbers that are missing
_MOST_LINES: Final = 2  # of each side, for a reference's to be drawn over the study's own


def panels_of(chart: Chart) -> list[Panel]:
    """Return the panels of a chart: none of a table.

    Args:
        chart: Laid out.
    """
    if chart.kind == "table":
        return []
    panels = []
    pairs = zip(chart.grids, (*chart.grids[1:], None), strict=True)
    for grid, following in pairs:
        if following is not None and is_dashed(chart, grid, following):
            panels.append(_panel(chart, grid, following))
            next(pairs)
        else:
            panels.append(_panel(chart, _named(grid, chart), None))
    return panels


def _named(grid: Grid, chart: Chart) -> Grid:
    """Give the study's own panel a title where another's stands beside it."""
    beside = any(other.is_reference for other in chart.grids)
    return replace(grid, title=OURS) if beside and not grid.is_reference and not grid.title else grid


def _panel(chart: Chart, grid: Grid, dashed: Grid | None) -> Panel:
    summary = summary_of(chart, grid)
    if chart.kind == "heat_map":
        return heat_map(grid, summary)
    if chart.kind == "bars":
        return bars(grid, summary)
    return scatter(grid, summary) if chart.kind == "scatter" else lines(grid, summary, log=chart.log, dashed=dashed)


def is_dashed(chart: Chart, grid: Grid, following: Grid) -> bool:
    """Tell whether a reference is drawn over the study's own lines: if they are few, over the same places and range.

    Args:
        chart: Laid out.
        grid: One of its panels.
        following: The next one.
    """
    if chart.kind != "lines" or grid.is_reference or not following.is_reference:
        return False
    few = max(len(grid.rows), len(following.rows)) <= _MOST_LINES
    spans = [[cell.drawn for _, cell in each.named() if cell.value is not None] for each in (grid, following)]
    if not few or not all(spans) or not set(grid.columns) & set(following.columns):
        return False
    return max(map(min, spans)) <= min(map(max, spans))


def summary_of(chart: Chart, grid: Grid) -> str:
    """Return a panel in words, for those who cannot see it.

    Args:
        chart: Of the panel.
        grid: The panel.
    """
    axes = " and ".join(part for part in (*grid.row_axes, grid.column_axis) if part)
    what = (
        f"{chart.kind.replace('_', ' ')} of {grid.values or ' and '.join(grid.columns)}{f' by {axes}' if axes else ''}"
    )
    cells = [(name, cell) for name, cell in grid.named() if cell.value is not None]
    amount = sum(not cell.is_blank for _, cell in grid.named())
    parts = [f"{chart.title}{f', {grid.title}' if grid.title else ''}: {what}, {len(cells)} of {amount} values"]
    if cells and not chart.by_measure:
        for word, (name, cell) in (("lowest", min(cells, key=_drawn)), ("highest", max(cells, key=_drawn))):
            parts.append(f"{word} {cell.number(cell.value)}{f' ({name})' if name else ''}")
    return "; ".join(parts)


def _drawn(item: tuple[str, Cell]) -> float:
    return item[1].drawn


def notes_of(chart: Chart) -> Iterator[str]:
    """Yield the lines to be read below a chart: its notes, where the reference is from, what its marks mean.

    Args:
        chart: Laid out.
    """
    if chart.notes:
        yield one_line(chart.notes, 2000)
    own = [cell for grid in chart.grids if not grid.is_reference for _, cell in grid.named() if not cell.is_blank]
    if chart.reference is not None:
        told = chart.reference
        parts = [told.setting, f"Source: {told.source}" if told.source else ""]
        dashed = any(is_dashed(chart, a, b) for a, b in pairwise(chart.grids))
        yield f"{'Dashed, ref.: ' * dashed}{told.title}: {'. '.join(part for part in parts if part)}."
        if any(value.cell.deviation is not None for value in told.values):
            yield "± beside values of the reference may be how well they could be read off; its source says."
        if told.has_recalled:
            yield "Numbers in italics were recalled by whoever wrote the reference down, not read in the source."
    several = any(cell.deviation is not None for cell in own)
    single = any(cell.deviation is None and cell.interval is not None for cell in own)
    if chart.kind in ("bars", "lines", "scatter") and (several or single):
        kinds = ["one sample deviation between seeds to both sides"] * several
        kinds += ["of a single run its 95 % bootstrap interval over test images"] * single
        yield f"Error bars: {'; '.join(kinds)}."
    elif several:
        yield "± is one sample deviation between seeds."
    if has_best(chart):
        yield (
            "Bold: better than every other in its column, each tested at 5 %: means over seeds by Welch's test, single "
            "runs by their intervals over test images, which say nothing of other seeds."
        )
    if any(cell.value is not None and cell.problem for cell in own):
        yield "* not of every planned seed."
    for mark, is_failed in (("✗", True), ("–", False)):
        lacking = [cell.problem for cell in own if cell.value is None and cell.failed is is_failed]
        if lacking:
            reasons = list(dict.fromkeys(lacking))
            more = f" and {len(reasons) - _MOST_REASONS} more, which the numbers say" * (len(reasons) > _MOST_REASONS)
            yield f"{mark}: {'; '.join(reasons[:_MOST_REASONS])}{more}."
