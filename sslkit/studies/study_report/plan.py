"""What a chart of a study asks for: its kind, its points and measures, and which axis goes where.

Enters: a study, and one `[[sweep.report]]` table. Leaves: a plan. Called by `layout`, which makes grids of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sslkit.recipe.axes import number_of, same_label
from sslkit.studies.study_report.references import reference_of
from sslkit.studies.study_report.values import measures_of
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.studies.records import Record
    from sslkit.studies.study import Axis, Study

_KINDS: Final = ("heat_map", "bars", "lines", "scatter", "table")
_MOST_LETTERS: Final = 100  # of a label


class Plan:
    """What one table of a study asks for, the rest chosen by the axes.

    Args:
        study: Finished or not.
        table: `[[sweep.report]]`; may be empty.

    Attributes:
        kind: "heat_map", "bars", "lines", "scatter" or "table".
        measures: What is read from each run.
        reference: Numbers to see it beside, or None.
        points: Labels of the points that take part, by axis, each once for all its seeds.
        across: The axis of the columns, or None.
        down: The axes of the rows.
        family: Of a scatter plot: the axis whose labels have colours, or None.
        by_measure: The columns are measures, and each point is a row.
        together: The measures are rows of one panel.
    """

    def __init__(self, study: Study, table: Mapping[str, Any]) -> None:
        self.study, self.table = study, table
        self.axes = {axis.name: axis for axis in study.axes}
        self.measures = measures_of(study, table)
        self.reference = reference_of(study, table, self.measures)
        self.rename = {str(key): one_line(text) for key, text in (table.get("rename") or {}).items()}
        records = {record.id: record for record in study.records}
        self._runs: dict[tuple[str, ...], list[Record | None]] = {}
        for point in study.points:
            if self._takes_part(point["labels"]):
                labels = tuple(point["labels"][axis] for axis in self.axes)
                self._runs.setdefault(labels, []).append(records.get(point["id"]))
        self.points = [dict(zip(self.axes, labels, strict=True)) for labels in self._runs]
        kind = str(table.get("chart") or self._suited())
        self.kind = kind if kind in _KINDS and (kind != "scatter" or len(self.measures) > 1) else "table"
        if self.kind == "scatter":
            self.measures = self._of_scatter()
        self.across, self.down = self._places()
        self.family = self._axis(table.get("series")) if self.kind == "scatter" else None
        self.by_measure = self.kind == "scatter" or (
            self.kind == "table" and (self.across is None or len(self.measures) > 1)
        )
        one_unit = len({measure.percent for measure in self.measures}) == 1
        self.together = not self.down and len(self.measures) > 1 and one_unit and self.kind != "heat_map"

    @property
    def title(self) -> str:
        """The chart's title, or what it shows."""
        names = ", ".join(map(self.shown, self.axes))
        suited = f"{self.measures[0].label} by {names}" if names else self.measures[0].label
        return one_line(self.table.get("title") or suited)

    def _suited(self) -> str:
        if len(self.axes) not in (1, 2):
            return "table"
        if any(map(_is_numeric, self.axes.values())):
            return "lines"
        return "bars" if len(self.axes) == 1 else "heat_map"

    def _takes_part(self, labels: Mapping[str, str]) -> bool:
        where = {self._axis(key): chosen for key, chosen in (self.table.get("where") or {}).items()}
        return all(
            axis is None or any(same_label(labels[axis], str(label)) for label in chosen)
            for axis, chosen in where.items()
        )

    def _axis(self, name: object) -> str | None:
        """Return the axis of a name or key."""
        return next((axis.name for axis in self.axes.values() if name in (axis.name, axis.key)), None)

    def _of_scatter(self) -> list[Any]:
        """Return the measures that go across and upwards."""
        by_label = {measure.label: measure for measure in self.measures}
        across = by_label.get(str(self.table.get("x")), self.measures[0])
        others = [measure for measure in self.measures if measure is not across]
        return [across, by_label.get(str(self.table.get("y")), others[0])]

    def _places(self) -> tuple[str | None, tuple[str, ...]]:
        """Return the axis that goes across, and those that go down, as rows, lines or groups of bars."""
        across = self._axis(self.table.get("x"))
        named = self._axis(self.table.get("y" if self.kind in ("heat_map", "table") else "series"))
        open_axes = [name for name in self.axes if name not in (across, named) and len(self.labels(name)) > 1]
        if self.kind == "table":
            others = [named, *open_axes] if named else open_axes
            return across, tuple(others) if across else ()
        if self.kind == "heat_map" and named is None:
            named = next(iter(open_axes), None)
        if across is None:
            open_axes = [name for name in open_axes if name != named]
            numeric = [name for name in open_axes if _is_numeric(self.axes[name])] if self.kind == "lines" else []
            across = next(iter(numeric or open_axes or [name for name in self.axes if name != named]), None)
        if named is None and len(self.measures) == 1:
            placed = [across] if across else []
            named = next((name for name in open_axes if name != across and self._is_open(name, placed)), None)
        return across, (named,) if named else ()

    def point(self, labels: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return all labels of the one point that has some, None if there is none.

        Args:
            labels: Axis name to label; axes may be left out that are in step with others.
        """
        if len(labels) == len(self.axes):
            return labels if tuple(labels[axis] for axis in self.axes) in self._runs else None
        return next((point for point in self.points if labels.items() <= point.items()), None)

    def runs(self, point: Mapping[str, str]) -> Sequence[Record | None]:
        """Return what came of each planned run of a point, None of those that have not ended.

        Args:
            point: All its labels.
        """
        return self._runs[tuple(point[axis] for axis in self.axes)]

    def free_axes(self) -> list[str]:
        """Return the axes that must make panels: those of which the placed ones leave more than one label."""
        placed = [*self.down, *([self.across] if self.across else [])]
        for axis in self.axes:
            if self._is_open(axis, placed):
                placed.append(axis)
        return [axis for axis in placed if axis != self.across and axis not in self.down]

    def _is_open(self, axis: str, placed: Sequence[str]) -> bool:
        """Tell whether the labels on some axes leave more than one on another; axes in step leave one."""
        found: dict[tuple[str, ...], set[str]] = {}
        for point in self.points:
            found.setdefault(tuple(point[name] for name in placed), set()).add(point[axis])
        return any(len(labels) > 1 for labels in found.values())

    def single_labels(self) -> dict[str, str]:
        """Return the axes on which all points have the same label, with that label."""
        found = {axis: self.labels(axis) for axis in self.axes if axis != self.across and axis not in self.down}
        return {axis: labels[0] for axis, labels in found.items() if len(labels) == 1}

    def labels(self, axis: str) -> list[str]:
        """Return the labels of an axis that the points have, in the recipe's order.

        Args:
            axis: Its name.
        """
        there = {point[axis] for point in self.points}
        return [label for label in self.axes[axis].labels if label in there]

    def combinations(self, axes: Sequence[str]) -> list[dict[str, str]]:
        """Return the labels that points have on some axes, each combination once, in the recipe's order.

        Args:
            axes: Their names; none have one combination, the empty one.
        """
        there = {tuple(point[axis] for axis in axes) for point in self.points}
        every = itertools.product(*(self.axes[axis].labels for axis in axes))
        return [dict(zip(axes, labels, strict=True)) for labels in every if labels in there]

    def shown(self, text: str) -> str:
        """Return what an axis or a label is called.

        Args:
            text: Its name.
        """
        return self.rename.get(text, one_line(text, _MOST_LETTERS))

    def own_label(self, axis: str, label: str) -> str:
        """Return a reference's label as the study spells it.

        Args:
            axis: Its name; need not be one of the study's.
            label: The reference's.
        """
        own = self.axes[axis].labels if axis in self.axes else ()
        return next((spelt for spelt in own if same_label(spelt, label)), label)

    def number(self, axis: str | None, label: str) -> float | None:
        """Return where a label lies on its axis of numbers, None if it does not.

        Args:
            axis: Its name, or None.
            label: The study's or a reference's.
        """
        if axis is None or not _is_numeric(self.axes[axis]):
            return None
        known = dict(zip(self.axes[axis].labels, self.axes[axis].values, strict=True))
        return known[label] if label in known else number_of(label)

    def ordered(self, axis: str | None, labels: Iterable[str]) -> list[str]:
        """Return labels, each once: by their numbers, in the study's order, or if it has not all of them as they come.

        Args:
            axis: Its name, or None.
            labels: The study's or a reference's.
        """
        found = list(dict.fromkeys(labels))
        numbers = {label: self.number(axis, label) for label in found}
        if all(number is not None for number in numbers.values()):
            return sorted(found, key=lambda label: numbers[label] or 0.0)
        own = self.axes[axis].labels if axis else ()
        return sorted(found, key=own.index) if set(found) <= set(own) else found


def _is_numeric(axis: Axis) -> bool:
    return bool(axis.values) and all(value is not None for value in axis.values)
