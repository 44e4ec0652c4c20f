"""Numbers to see a study beside, such as the paper's: found by the labels of their points.

Enters: a reference file's table. Leaves: cells for labels, and where the reference has values of its own. Called by
`layout`. A reference may lack points of the study and have others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sslkit.recipe.axes import same_label
from sslkit.studies.study_report.cells import Cell
from sslkit.studies.study_report.values import Measure
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.studies.study import Axis, Study


@dataclass(frozen=True)
class Value:
    """One value of a reference.

    Attributes:
        at: Axis name to label.
        measure: Label of what it is; "" for the chart's first measure.
        cell: The value.
    """

    at: Mapping[str, str]
    measure: str
    cell: Cell

    def is_of(self, measure: Measure, *, first: bool) -> bool:
        """Tell whether this is a value of a measure.

        Args:
            measure: Of a chart.
            first: It is the chart's first.
        """
        return self.measure == measure.label or (first and not self.measure)

    def is_at(self, labels: Mapping[str, str]) -> bool:
        """Tell whether nothing that is said of the value's place speaks against some labels.

        Args:
            labels: Axis name to label.
        """
        return all(same_label(self.at[axis], label) for axis, label in labels.items() if axis in self.at)


@dataclass(frozen=True)
class Reference:
    """A table of values that someone else measured.

    Attributes:
        title: What it is.
        source: Where it is printed.
        setting: Under which circumstances it was measured.
        values: In the order of the file.
    """

    title: str
    source: str
    setting: str
    values: tuple[Value, ...]

    @property
    def has_recalled(self) -> bool:
        """Whether a value was recalled, not read."""
        return any(value.cell.recalled for value in self.values)

    def at(self, labels: Mapping[str, str], measure: Measure, *, first: bool) -> Cell | None:
        """Return the value of a point of the study, None if there is none.

        Args:
            labels: Of the point, all of them.
            measure: Which of its numbers.
            first: It is the chart's first.
        """
        fitting = (value for value in self.values if value.is_of(measure, first=first) and value.is_at(labels))
        return next((value.cell for value in fitting), None)


def reference_of(study: Study, chart: Mapping[str, Any], measures: Sequence[Measure]) -> Reference | None:
    """Return the reference of a chart, None if it has none.

    Args:
        study: Holds the reference files' tables.
        chart: Of the study.
        measures: Of the chart; those that are fractions take the file's unit.
    """
    table = study.references.get(str(chart.get("reference", "")))
    if not isinstance(table, Mapping):
        return None
    values = [_value(study.axes, table, entry, measures) for entry in table.get("values") or ()]
    told = [one_line(table.get(key) or "", 600) for key in ("title", "source", "setting")]
    return Reference(told[0] or "reference", told[1], told[2], tuple(value for value in values if value is not None))


def _value(
    axes: Sequence[Axis], table: Mapping[str, Any], entry: Mapping[str, Any], measures: Sequence[Measure]
) -> Value | None:
    number = entry.get("value")
    if not isinstance(number, int | float) or not math.isfinite(number):
        return None
    names = {key: axis.name for axis in axes for key in (axis.name, axis.key)}
    at = {names.get(key, key): _label(label) for key, label in (entry.get("at") or {}).items()}
    called = str(entry.get("measure") or "")
    percent = next((measure.percent for measure in measures if measure.label == called), measures[0].percent)
    divisor = 100 if percent and entry.get("unit", table.get("unit")) == "percent" else 1
    deviation = entry.get("deviation")
    cell = Cell(
        number / divisor,
        percent,
        deviation=deviation / divisor if isinstance(deviation, int | float) else None,
        recalled=bool(entry.get("recalled", table.get("recalled", False))),
    )
    return Value(at, called, cell)


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
