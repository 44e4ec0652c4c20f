"""What the charts of a study ask for, checked before its first run: hours later it would be too late.

Enters: the [[sweep.report]] tables, the axes, and the recipe of each run. Leaves: charts with axes and points called as
the study calls them, the numbers that they are seen beside, and remarks. Called by `sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.recipe.axes import SEED, Axis, axis_called, point_called, told
from sslkit.recipe.merge import RANDOM
from sslkit.recipe.plan import Recipe
from sslkit.recipe.read import Document, KeyPath
from sslkit.recipe.references import read_reference
from sslkit.recipe.schema import ChartKeys, MeasureKeys
from sslkit.text import did_you_mean

# The keys that a chart has a use for, of those that only some have.
_TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "heat_map": ("x", "y", "means"),
    "bars": ("x", "series"),
    "lines": ("x", "series", "log"),
    "scatter": ("x", "y", "series"),
    "table": ("x", "y", "means"),
}
_SOME: Final = ("x", "y", "series", "means", "log")
_PLACES: Final = ("x", "y", "series")
_OF_EVALUATIONS: Final = ("evaluation", "data", "features", "weights", "metric")


@dataclass
class Charts:
    """The charts of a study.

    Attributes:
        tables: The [[sweep.report]] tables; axes and points are called by their names and labels.
        references: Numbers to see charts beside, by the file's name in the charts.
        remarks: What is no mistake but may not be meant, a line each.
    """

    tables: list[dict[str, Any]] = field(default_factory=list)
    references: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def read_charts(
    tables: Sequence[ChartKeys],
    axes: Sequence[Axis],
    runs: Sequence[tuple[Mapping[str, str], Recipe]],
    document: Document,
) -> Charts:
    """Check the charts of a study.

    Args:
        tables: Of the recipe.
        axes: Without that of the seeds.
        runs: Labels and recipe of each.
        document: The recipe.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    found, problems = Charts(), list[str]()
    for number, keys in enumerate(tables):
        checker = _Checker(keys, number, axes, runs, document)
        found.tables.append(checker.table())
        if checker.reference is not None:
            name = "/".join(Path(str(keys.reference)).parts[-2:])  # the same wherever the study lies
            found.tables[-1]["reference"] = name
            found.references[name] = checker.reference
            found.remarks += checker.remarks(name)
        problems += checker.problems
    if problems:
        raise RecipeError(problems)
    return found


class _Checker:
    """Collects the problems of one chart."""

    def __init__(
        self,
        keys: ChartKeys,
        number: int,
        axes: Sequence[Axis],
        runs: Sequence[tuple[Mapping[str, str], Recipe]],
        document: Document,
    ) -> None:
        self.keys, self.axes, self.runs, self.document = keys, axes, runs, document
        self.place: KeyPath = ("sweep", "report", number)
        self.problems: list[str] = []
        self.reference: dict[str, Any] | None = None

    def table(self) -> dict[str, Any]:
        table = self.keys.model_dump()
        self._require_use()
        table |= self._places()
        table["where"] = where = self._where()
        self.runs = [
            (labels, recipe) for labels, recipe in self.runs if all(labels[axis] in where[axis] for axis in where)
        ]
        if not self.runs:
            self._problem(("where",), "no run is at such a point")
        else:
            for number, measure in enumerate(self.keys.measures):
                self._require_measured(number, measure)
        self._read_reference()
        table["rename"] = dict(self._renamed(key, text) for key, text in self.keys.rename.items())
        return table

    def remarks(self, name: str) -> list[str]:
        """Return that no number of the reference will stand beside one of the study, if it is so."""
        values = [value for value in (self.reference or {}).get("values", ()) if self._is_shown(value)]
        there: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
        for value in values:
            at = value["at"]
            axes = tuple(at)
            if axes not in there:
                there[axes] = {tuple(labels[axis] for axis in axes) for labels, _ in self.runs}
            if tuple(at.values()) in there[axes]:
                return []
        what = f"none of the values of {name} is at a point of this study: they get a panel of their own"
        return [told(self.document, (*self.place, "reference"), what)]

    def _problem(self, path: KeyPath, reason: str) -> None:
        self.problems.append(told(self.document, (*self.place, *path), reason))

    def _axis(self, path: KeyPath, text: str) -> Axis | None:
        axis = axis_called(text, self.axes)
        if axis is None:
            known = [axis.name for axis in self.axes]
            advice = did_you_mean(text, known) or f"; the axes are {', '.join(known) or 'none but the seeds'}"
            seeds = "the seeds are no axis of a chart, which shows their mean and deviation; leave it out"
            self._problem(path, seeds if text == SEED else f"no axis is called {text!r}{advice}")
        return axis

    def _require_use(self) -> None:
        """Refuse what the chart would ignore, and a chart that the axes or measures are too few for."""
        kind = self.keys.chart
        for key in _SOME if kind is not None else ():
            if getattr(self.keys, key) is not None and key not in _TAKES[str(kind)]:
                self._problem((key,), f"{kind} has no use for it, but for {', '.join(_TAKES[str(kind)])}; leave it out")
        if kind == "heat_map" and len(self.axes) < 2:
            names = ", ".join(axis.name for axis in self.axes) or "none"
            self._problem(("chart",), f"heat_map needs two axes beside the seeds, here is {names}; draw lines or bars")
        if kind == "scatter" and len(self.keys.measures) < 2:
            self._problem(("measures",), "scatter needs two measures, for x and y")

    def _places(self) -> dict[str, str | None]:
        """Return where axes, and measures of a scatter plot, go: each to one place."""
        labels = [measure.label for measure in self.keys.measures if measure.label is not None]
        found: dict[str, str | None] = {}
        for key in _PLACES:
            text = getattr(self.keys, key)
            if text is None:
                continue
            if self.keys.chart == "scatter" and key != "series":
                if text not in labels:
                    known = did_you_mean(text, labels) or f"; the labels are {', '.join(labels) or 'none'}"
                    self._problem((key,), f"no measure has the label {text!r}{known}")
                found[key] = text
            else:
                axis = self._axis((key,), text)
                found[key] = None if axis is None else axis.name
            same = next((other for other in found if other != key and found[other] == found[key] is not None), None)
            if same is not None:
                self._problem((key,), f"is {found[key]!r}, as {same} is; name another, or leave it out")
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            self._problem(("measures",), f"two have the label {twice!r}; call one otherwise")
        return found

    def _where(self) -> dict[str, list[str]]:
        where: dict[str, list[str]] = {}
        for key, given in self.keys.where.items():
            axis = self._axis(("where", key), key)
            if axis is None:
                continue
            where[axis.name] = []
            for label in given if isinstance(given, tuple) else (given,):
                own = point_called(label, axis)
                if own is None:
                    near = did_you_mean(label, axis.labels) if isinstance(label, str) else ""
                    known = near or f"; its points are {', '.join(axis.labels)}"
                    self._problem(("where", key), f"{axis.name} has no point {label!r}{known}")
                    own = axis.labels[0]
                where[axis.name].append(own)
        return where

    def _renamed(self, key: str, text: str) -> tuple[str, str]:
        """Return an axis or a label as the study calls it, and what it is to be called."""
        labels = [label for axis in self.axes for label in axis.labels]
        theirs = [label for value in (self.reference or {}).get("values", ()) for label in value["at"].values()]
        names = [axis.name for axis in self.axes]
        if key in (*names, *labels, *theirs):
            return key, text
        if axis := axis_called(key, self.axes):
            return axis.name, text
        if own := next((own for axis in self.axes if (own := point_called(key, axis))), None):
            return own, text
        advice = did_you_mean(key, [*names, *labels])
        self._problem(("rename", key), f"no axis and no point is called {key!r}{advice}")
        return key, text

    def _require_measured(self, number: int, measure: MeasureKeys) -> None:
        """Refuse a measure that would be missing in every run when all have been run."""
        path: KeyPath = ("measures", number)
        if measure.pretraining is not None:
            if beside := [key for key in _OF_EVALUATIONS if key in measure.model_fields_set]:
                reason = f"a number of the pretraining is of no evaluation; leave out pretraining or {beside[0]}"
                self._problem(path, reason)
            elif not any(recipe.pretrain for _, recipe in self.runs):
                self._problem(path, "no run pretrains")
        elif not any(_measures(recipe, measure) for _, recipe in self.runs):
            tables = dict.fromkeys(
                f"evaluate.{index} {plan.evaluation.component.name} on {', '.join(plan.features)}"
                for _, recipe in self.runs
                for index, plan in enumerate(recipe.evaluate)
            )
            which = "evaluation" if measure.evaluation is None else measure.evaluation
            wanted = f"{which} on {measure.features}, {measure.weights} weights"
            self._problem(path, f"no run measures {wanted}; there is {'; '.join(tables) or 'none'}")

    def _read_reference(self) -> None:
        if self.keys.reference is None:
            return
        try:
            self.reference = read_reference(Path(self.keys.reference), self.axes)
        except RecipeError as error:
            for problem in error.problems:
                self._problem(("reference",), problem)
            return
        if not any(map(self._is_shown, self.reference["values"])):
            theirs = dict.fromkeys(str(value["measure"]) for value in self.reference["values"])
            own = ", ".join(str(measure.label) for measure in self.keys.measures)
            reason = f"its values are of {', '.join(theirs)}; the measures of this chart have the labels {own}"
            self._problem(("reference",), reason)

    def _is_shown(self, value: Mapping[str, Any]) -> bool:
        """Tell whether a value of a reference may be of a measure of this chart."""
        labels = [measure.label for measure in self.keys.measures]
        return "measure" not in value or None in (labels or [None]) or value["measure"] in labels


def _measures(recipe: Recipe, measure: MeasureKeys) -> bool:
    """Tell whether a recipe has an evaluation that yields a measure."""
    own = RANDOM if recipe.weights == RANDOM else "pretrained"
    for index, plan in enumerate(recipe.evaluate):
        if measure.evaluation not in (None, index, plan.evaluation.component.name):
            continue
        if measure.features == "pixels":
            found = "pixels" in (*plan.baselines, *plan.features)
        else:
            found = measure.features in plan.features and measure.weights in (own, *plan.baselines)
        if found:
            return True
    return False
