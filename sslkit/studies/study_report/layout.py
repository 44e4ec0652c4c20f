"""Charts of a study as grids of cells: the study's own panels, each followed by the reference's.

Enters: a study. Leaves: charts. Called by the pages and tables of studies; what draws them knows nothing of axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.grids import Chart, Grid, is_geometric, with_means
from sslkit.studies.study_report.plan import Plan
from sslkit.studies.study_report.references import Reference, Value
from sslkit.studies.study_report.values import Measure, cell_of

if TYPE_CHECKING:
    from sslkit.studies.study import Study

_Line = tuple[Measure, tuple[str, ...]]  # what is in a row, and its labels


def charts_of(study: Study) -> list[Chart]:
    """Return the charts that a study declares, or one that suits its axes.

    Args:
        study: Finished or not.
    """
    return [_chart(Plan(study, table)) for table in study.charts or ({},)]


def _chart(plan: Plan) -> Chart:
    grids = list(_long_grids(plan) if plan.by_measure else _grids(plan))
    if plan.table.get("means") == "rows" and not plan.by_measure:
        grids = [with_means(grid) for grid in grids]
    families = list(dict.fromkeys(family for grid in grids for family in grid.families))
    grids = [replace(grid, series=tuple(map(families.index, grid.families))) for grid in grids]
    numbers = next((grid.numbers for grid in grids if grid.numbers), ())
    asked = plan.table.get("log")
    log = (is_geometric(numbers) if asked is None else bool(asked)) and all(number > 0 for number in numbers)
    notes = str(plan.table.get("notes") or "")
    return Chart(plan.kind, plan.title, notes, tuple(grids), log, plan.reference, plan.by_measure)


def _grids(plan: Plan) -> Iterator[Grid]:
    """Yield a panel for each measure and label of the axes that are left, each followed by the reference's."""
    seen: list[Grid] = []
    for measures in [plan.measures] if plan.together else [[measure] for measure in plan.measures]:
        for fixed in plan.combinations(plan.free_axes()):
            parts = [f"{plan.shown(axis)}: {plan.shown(label)}" for axis, label in fixed.items()]
            if len(plan.measures) > 1 and not plan.together:
                parts.insert(0, measures[0].label)
            grid = _own_grid(plan, fixed, measures, ", ".join(parts))
            yield grid
            if plan.reference is not None:
                beside = _reference_grid(plan, plan.reference, grid, fixed, measures)
                if beside is not None and all(beside.cells != other.cells for other in seen):
                    seen.append(beside)
                    yield beside


def _own_grid(plan: Plan, fixed: Mapping[str, str], measures: Sequence[Measure], title: str) -> Grid:
    columns = plan.labels(plan.across) if plan.across else [""]
    if plan.kind == "lines":
        columns = plan.ordered(plan.across, columns)
    rows = [tuple(labels.values()) for labels in plan.combinations(plan.down)]
    lines = [(measure, row) for measure in measures for row in rows]
    cells = []
    for measure, row in lines:
        labels = {**fixed, **dict(zip(plan.down, row, strict=True))}
        across = ({plan.across: column} if plan.across else {} for column in columns)
        cells.append(tuple(_cell(plan, labels | more, measure) for more in across))
    told = tuple((plan.shown(axis), plan.shown(label)) for axis, label in fixed.items())
    return replace(_titled(plan, title, columns, lines, tuple(cells)), fixed=told)


def _cell(plan: Plan, labels: Mapping[str, str], measure: Measure) -> Cell:
    """Return the cell of the one point of the chart that has some labels, with the reference's beside it."""
    point = plan.point(labels)
    if point is None:
        return Cell(None, measure.percent)
    cell = cell_of(plan.runs(point), measure)
    if plan.reference is None:
        return cell
    return replace(cell, paper=plan.reference.at(point, measure, first=measure is plan.measures[0]))


def _titled(
    plan: Plan, title: str, columns: Sequence[str], lines: Sequence[_Line], cells: tuple[tuple[Cell, ...], ...]
) -> Grid:
    first = lines[0][0]
    numbers = [plan.number(plan.across, column) for column in columns]
    placed = tuple(number for number in numbers if number is not None)
    values, axes = first.axis, tuple(map(plan.shown, plan.down))
    rows = tuple(tuple(map(plan.shown, row)) for _, row in lines)
    if plan.together:
        alike = {measure.quantity for measure, _ in lines} == {first.quantity}
        values = replace(first, label=first.quantity).named if alike else "%" if first.percent else ""
        axes = ("",)
        rows = tuple((measure.label,) for measure, _ in lines)
    across = plan.shown(plan.across) if plan.across else ""
    names = tuple(map(plan.shown, columns))
    return Grid(title, values, axes, rows, across, names, placed if len(placed) == len(numbers) else (), cells)


def _reference_grid(
    plan: Plan, reference: Reference, ours: Grid, fixed: Mapping[str, str], measures: Sequence[Measure]
) -> Grid | None:
    """Return the reference's panel, with columns and rows of its own, the study's first; None if it is empty."""
    found: dict[tuple[str, tuple[str, ...], str], Cell] = {}
    for measure in measures:
        for value in reference.values:
            if value.is_of(measure, first=measure is plan.measures[0]) and value.is_at(
                {**plan.single_labels(), **fixed}
            ):
                column = _label(plan, plan.across, value) if plan.across else ""
                row = tuple(_label(plan, axis, value) for axis in plan.down)
                found.setdefault((measure.label, row, column), value.cell)
    aligned = sum(cell.paper is not None for _, cell in ours.named())
    if not found or (plan.kind == "table" and len(found) == aligned):
        return None  # a table has the values of its own points beside them
    columns = plan.ordered(plan.across, (column for _, _, column in found))
    rows = list(dict.fromkeys(row for _, row, _ in found))
    if len(plan.down) == 1:
        order = plan.ordered(plan.down[0], (row[0] for row in rows))
        rows.sort(key=lambda row: order.index(row[0]))
    there = {(measure, row) for measure, row, _ in found}
    lines = [(measure, row) for measure in measures for row in rows if (measure.label, row) in there]
    empty = Cell(None, measures[0].percent)
    cells = tuple(tuple(found.get((measure.label, row, column), empty) for column in columns) for measure, row in lines)
    title = ": ".join(part for part in (reference.title, ours.title) if part)
    return replace(_titled(plan, title, columns, lines, cells), fixed=ours.fixed, is_reference=True)


def _label(plan: Plan, axis: str, value: Value) -> str:
    return plan.own_label(axis, value.at[axis]) if axis in value.at else ""


def _long_grids(plan: Plan) -> Iterator[Grid]:
    """Yield one panel with a row for each point and a column for each measure, and the reference's."""
    axes = [axis for axis in plan.axes if len(plan.labels(axis)) > 1] or list(plan.axes)
    points = plan.combinations(axes)
    cells = tuple(tuple(_cell(plan, point, measure) for measure in plan.measures) for point in points)
    columns = tuple(measure.named for measure in plan.measures)
    names = tuple(tuple(map(plan.shown, point.values())) for point in points)
    family = plan.shown(plan.family) if plan.family in axes else ""
    yield Grid("", "", tuple(map(plan.shown, axes)), names, "", columns, (), cells, family_axis=family)
    if plan.reference is None:
        return
    found: dict[tuple[str, ...], dict[str, Cell]] = {}
    asked = {measure.label for measure in plan.measures}
    first = plan.measures[0].label
    values = [value for value in plan.reference.values if (value.measure or first) in asked]
    axes = list(dict.fromkeys(axis for value in values for axis in value.at))
    for value in values:
        if value.is_at(plan.single_labels()):
            row = found.setdefault(tuple(plan.shown(_label(plan, axis, value)) for axis in axes), {})
            row.setdefault(value.measure or first, value.cell)
    aligned = sum(cell.paper is not None for row in cells for cell in row)
    if found and (plan.kind == "scatter" or sum(map(len, found.values())) > aligned):
        theirs = tuple(tuple(row.get(m.label, Cell(None, m.percent)) for m in plan.measures) for row in found.values())
        called = tuple(map(plan.shown, axes))
        title, family = plan.reference.title, family if family in called else ""
        yield Grid(title, "", called, tuple(found), "", columns, (), theirs, is_reference=True, family_axis=family)
