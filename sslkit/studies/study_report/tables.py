"""Grids of a study as tables: the paper's numbers beside its own, the best in bold where it is significantly best.

Enters: charts, laid out. Leaves: entries, which pages, Markdown and the terminal each write their own way. Called by
`page`, `text` and `sslkit report`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sslkit.page import Html, escape, table
from sslkit.studies.study_report.cells import Cell, differs
from sslkit.studies.study_report.grids import OURS, Chart, Grid

_BESIDE: Final = 5  # measures up to which a reference's numbers get columns of their own; else they stand below


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: Plain text.
        look: "bold", "italic", "quiet" or "".
        hint: More about it, plain text.
    """

    text: str
    look: str = ""
    hint: str = ""


def entries(chart: Chart, grid: Grid) -> tuple[list[str], list[list[Entry]]]:
    """Return the header and the lines of a panel's table.

    Args:
        chart: Of the panel.
        grid: The panel.
    """
    best = _best(grid) if chart.kind == "table" else set()
    head = [*(grid.row_axes or [""])]
    few = chart.by_measure and len(grid.columns) <= _BESIDE
    beside = [few and any(row[column].paper for row in grid.cells) for column in range(len(grid.columns))]
    for column, name in enumerate(grid.columns):
        head += [name, "reference"] if beside[column] else [name]
    lines = []
    for number, (row, cells) in enumerate(zip(grid.rows, grid.cells, strict=True)):
        line = [Entry(part) for part in row or ("reference" if grid.is_reference else OURS,)]
        for column, cell in enumerate(cells):
            line.append(entry(cell, bold=(number, column) in best, digits=1 if grid.is_reference else 2))
            if beside[column]:
                line.append(Entry("") if cell.paper is None else _quiet(cell.paper))
        lines.append(line)
        if chart.kind == "table" and not few and any(cell.paper for cell in cells):
            names = [Entry("reference", "quiet"), *[Entry("")] * (len(line) - len(cells) - 1)]
            lines.append([*names, *(Entry("") if cell.paper is None else _quiet(cell.paper) for cell in cells)])
    return head, lines


def entry(cell: Cell, *, bold: bool = False, digits: int = 2) -> Entry:
    """Return a cell's number, or why there is none.

    Args:
        cell: Of a grid.
        bold: It is the best.
        digits: After the point, of percent.
    """
    if cell.is_blank:
        return Entry("")
    if cell.value is None:
        return Entry("✗ failed" if cell.failed else "–", "quiet", cell.problem)
    look = "italic" if cell.recalled else "bold" if bold else ""
    hint = ", ".join(part for part in (cell.sure, cell.problem) if part)
    return Entry(f"{cell.shown(digits)}{'*' if cell.problem else ''}", look, hint)


def _quiet(paper: Cell) -> Entry:
    # Someone else's number has no more digits than were printed.
    return Entry(paper.shown(1), "italic" if paper.recalled else "quiet")


def _best(grid: Grid) -> set[tuple[int, int]]:
    """Return where the values are that are significantly above all others in their column."""
    found = set()
    for column in range(len(grid.columns)):
        cells = [(row[column], number) for number, row in enumerate(grid.cells) if row[column].value is not None]
        if len(cells) > 1 and all(cell.percent for cell, _ in cells):
            top, number = max(cells, key=lambda item: item[0].drawn)
            if all(other is top or differs(top, other) for other, _ in cells):
                found.add((number, column))
    return found


def has_best(chart: Chart) -> bool:
    """Tell whether a value of a table is printed bold.

    Args:
        chart: Laid out.
    """
    return chart.kind == "table" and any(_best(grid) for grid in chart.grids)


def html_table(chart: Chart, grid: Grid) -> str:
    """Return a panel's table as HTML.

    Args:
        chart: Of the panel.
        grid: The panel.
    """
    head, lines = entries(chart, grid)
    return f'<div class="numbers">{table((list(map(_html, line)) for line in lines), head)}</div>'


def _html(entry: Entry) -> Html:
    text = escape(entry.text)
    marked = {"bold": f"<b>{text}</b>", "italic": f"<i>{text}</i>", "quiet": f'<span class="quiet">{text}</span>'}
    hint = f' title="{escape(entry.hint)}"' if entry.hint else ""
    return Html(f"<span{hint}>{marked.get(entry.look, text)}</span>" if hint else marked.get(entry.look, text))


def records(chart: Chart) -> list[tuple[Cell, dict[str, Any]]]:
    """Return each cell of a chart, and the same as a row for programs: nothing rounded, fractions as fractions.

    Args:
        chart: Laid out.
    """
    found: list[tuple[Cell, dict[str, Any]]] = []
    for grid in chart.grids:
        for row, cells in zip(grid.rows, grid.cells, strict=True):
            named = zip(grid.columns, cells, strict=True)
            found += [(cell, _place(chart, grid, row, column)) for column, cell in named if not cell.is_blank]
    return [(cell, {**place, **_numbers(cell)}) for cell, place in found]


def _place(chart: Chart, grid: Grid, row: Sequence[str], column: str) -> dict[str, Any]:
    rows = dict(zip(grid.row_axes, row, strict=True))
    axes = {**dict(grid.fixed), **rows} | ({} if chart.by_measure else {grid.column_axis: column})
    measure = column if chart.by_measure else axes.pop("", "") or grid.values
    measure = measure.removesuffix(" (%)")  # values are fractions here
    source = chart.reference.title if grid.is_reference and chart.reference else OURS
    return {"chart": chart.title, "of": source, "measure": measure, "axes": {k: v for k, v in axes.items() if k}}


def _numbers(cell: Cell) -> dict[str, Any]:
    low, high = cell.interval or (None, None)
    return {
        "value": cell.value,
        "deviation": cell.deviation,
        "low": low,
        "high": high,
        "interval": None if cell.interval is None else "seeds" if len(cell.samples) > 1 else "test images",
        "seeds": len(cell.samples),
        "planned": cell.planned,
        "samples": list(cell.samples),
        "problem": cell.problem,
        "reference": None if cell.paper is None else cell.paper.value,
        "recalled": cell.recalled or (cell.paper is not None and cell.paper.recalled),
    }
