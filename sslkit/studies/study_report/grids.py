"""What is drawn and written of a study: charts, each of panels, each a grid of cells.

Enters: names and cells. Leaves: charts. Filled by `layout`; read by what draws charts and writes tables, which
know nothing of axes and points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sslkit.studies.significance import mean_and_deviation
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.references import Reference

OURS: Final = "this study"  # beside a reference's title
_LOG_FROM: Final = 2.0  # how much more even numbers must lie on a logarithmic axis than on a plain one to get it


@dataclass(frozen=True)
class Grid:
    """Cells in rows and columns: one panel.

    Attributes:
        title: What tells this panel from the others; "" if nothing needs to.
        values: What the cells are, with their unit.
        row_axes: What the parts of a row's name are called.
        rows: Names, a part for each of `row_axes`.
        column_axis: What the columns are called together.
        columns: Names.
        numbers: Where the columns lie on an axis of numbers; empty if they do not.
        cells: By row and column.
        series: Number of each row's family among those of all panels: equal ones have equal colours.
        fixed: Axis and label of what all cells have in common.
        is_reference: Not of this study.
        mean_column: The last column is the mean of the others.
        family_axis: One of `row_axes`: rows with the same label there are a family; "" if each row is one of its own.
    """

    title: str
    values: str
    row_axes: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    column_axis: str
    columns: tuple[str, ...]
    numbers: tuple[float, ...]
    cells: tuple[tuple[Cell, ...], ...]
    series: tuple[int, ...] = ()
    fixed: tuple[tuple[str, str], ...] = ()
    is_reference: bool = False
    mean_column: bool = False
    family_axis: str = ""

    @property
    def families(self) -> tuple[tuple[str, ...], ...]:
        """The family of each row."""
        if not self.family_axis:
            return self.rows
        place = self.row_axes.index(self.family_axis)
        return tuple((row[place],) for row in self.rows)

    def named(self) -> Iterable[tuple[str, Cell]]:
        """Yield each cell with what it is, in words."""
        for row, cells in zip(self.rows, self.cells, strict=True):
            for column, cell in zip(self.columns, cells, strict=True):
                yield ", ".join(part for part in (*row, column) if part), cell


@dataclass(frozen=True)
class Chart:
    """A chart of a study, ready to be drawn.

    Attributes:
        kind: "heat_map", "bars", "lines", "scatter" or "table".
        title: Plain text.
        notes: Plain text.
        grids: Panels; a reference's follows the one that it belongs to.
        log: The axis of numbers is logarithmic.
        reference: What it is seen beside.
        by_measure: The columns are different measures.
    """

    kind: str
    title: str
    notes: str
    grids: tuple[Grid, ...]
    log: bool = False
    reference: Reference | None = None
    by_measure: bool = False


def is_geometric(numbers: Sequence[float]) -> bool:
    """Tell whether numbers grow geometrically rather than evenly: whether they lie more evenly on a logarithmic axis.

    Args:
        numbers: In any order.
    """
    values = sorted(set(numbers))
    if len(values) < 3 or values[0] <= 0:
        return False
    uneven = []
    for places in (values, [math.log(value) for value in values]):
        gaps = [b - a for a, b in itertools.pairwise(places)]
        uneven.append(max(gaps) / min(gaps))
    return uneven[0] >= _LOG_FROM * uneven[1] * (1 - 1e-9)


def with_means(grid: Grid) -> Grid:
    """Return a grid with one more column, the mean of each row in which no cell is missing.

    Args:
        grid: Of one measure.
    """
    means = []
    for row in grid.cells:
        missing = sum(cell.value is None for cell in row)
        values = [cell.value for cell in row if cell.value is not None]
        mean = mean_and_deviation(values)[0] if values and not missing else None
        problem = f"{missing} of {len(row)} values are missing" if missing else ""
        if not missing and any(cell.problem for cell in row):
            problem = "of values that are not of every seed"
        recalled = any(cell.recalled for cell in row)
        means.append(Cell(mean, row[0].percent if row else True, problem=problem, recalled=recalled))
    cells = tuple((*row, mean) for row, mean in zip(grid.cells, means, strict=True))
    return replace(grid, columns=(*grid.columns, "mean"), numbers=(), cells=cells, mean_column=True)
