"""Numbers of a study: what the runs of a point measured over their seeds, and why a number is missing.

Enters: what came of runs, and a measure. Leaves: cells. Called by `layout`, which lays them out as charts want.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sslkit.studies.report_scores import METRICS
from sslkit.studies.significance import mean_and_deviation
from sslkit.studies.study_report.cells import Cell, seeds_interval
from sslkit.studies.wording import is_fraction
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.studies.records import Record
    from sslkit.studies.study import Study


@dataclass(frozen=True)
class Measure:
    """What is read from a run.

    Attributes:
        label: What it is called.
        evaluation: Component of the evaluation; "" for the first that fits.
        index: Number of the recipe's `[[evaluate]]` table; None for the first that fits.
        data: Component or title of the data; "" for any.
        features: "h", "z", a layer's name, or "pixels".
        weights: "pretrained", "random", or "none" for the pixels.
        metric: One of the result's metrics; "" for its headline.
        pretraining: One of the last metrics of pretraining; then nothing above counts.
        quantity: What its numbers are.
        percent: They are fractions, to be shown in percent.
    """

    label: str
    evaluation: str = ""
    index: int | None = None
    data: str = ""
    features: str = "h"
    weights: str = "pretrained"
    metric: str = ""
    pretraining: str = ""
    quantity: str = ""
    percent: bool = True

    @property
    def named(self) -> str:
        """The label, with its unit."""
        return f"{self.label} (%)" if self.percent else self.label

    @property
    def axis(self) -> str:
        """What stands beside an axis: the label, what its numbers are if that does not say it, and their unit."""
        if any(word in self.label for word in ("accuracy", *self.quantity.split()[:1])):
            return self.named
        return f"{self.label}: {self.quantity}{' (%)' * self.percent}"

    @property
    def sought(self) -> str:
        """What a run that lacks it does not have."""
        if self.pretraining:
            return f"no {self.pretraining} in its pretraining"
        evaluation = self.evaluation or ("evaluation" if self.index is None else f"evaluate.{self.index}")
        return f"no {self.metric or 'result'} of {evaluation} on {self.features}"


def measures_of(study: Study, chart: Mapping[str, Any]) -> list[Measure]:
    """Return what a chart shows; without `measures` the headline of the first evaluation, of h.

    Args:
        study: Whose records tell which metric a headline is.
        chart: Of the study.
    """
    return [_measure(study, table) for table in chart.get("measures") or [_first(study)]]


def _first(study: Study) -> Mapping[str, Any]:
    """Return what runs measure first: h, if they measure it, of weights that were pretrained."""
    rows = [row for record in study.records for row in record.results]
    if not rows or any((row.get("features"), row.get("weights")) == ("h", "pretrained") for row in rows):
        return {}
    return {key: rows[0].get(key) for key in ("features", "weights")}


def _measure(study: Study, table: Mapping[str, Any]) -> Measure:
    evaluation, index = table.get("evaluation"), table.get("index")
    if isinstance(evaluation, int):
        evaluation, index = None, evaluation
    measure = Measure(
        "",
        evaluation=str(evaluation or ""),
        index=index,
        data=str(table.get("data") or ""),
        features=str(table.get("features") or "h"),
        weights=str(table.get("weights") or "pretrained"),
        metric=str(table.get("metric") or ""),
        pretraining=str(table.get("pretraining") or ""),
    )
    metric = measure.pretraining or measure.metric or _headline(study, measure)
    quantity = one_line(METRICS.get(metric, metric.replace("_", " ")))
    percent = is_fraction(metric) or metric.endswith(("accuracy", "top5"))
    return replace(measure, label=one_line(table.get("label") or quantity), quantity=quantity, percent=percent)


def _headline(study: Study, measure: Measure) -> str:
    rows = (row for record in study.records for row in _rows(record, measure))
    return next((str(row.get("metric", "")) for row in rows), "top1")


def _rows(record: Record, measure: Measure) -> list[Mapping[str, Any]]:
    """Return a run's results that are of a measure: those of one evaluation, one for each of its seeds."""
    rows = [row for row in record.results if _fits(row, measure)]
    first = min((row.get("index", 0) for row in rows), default=0)
    same = [row for row in rows if row.get("index", 0) == first]
    return [row for row in same if row.get("data") == same[0].get("data") and row.get("split") == same[0].get("split")]


def _fits(row: Mapping[str, Any], measure: Measure) -> bool:
    return (
        measure.evaluation in ("", row.get("evaluation"))
        and measure.index in (None, row.get("index"))
        and measure.data in ("", row.get("data"), row.get("title"))
        and measure.features == row.get("features")
        and (measure.weights == row.get("weights") or measure.features == "pixels")
        and (not measure.metric or measure.metric == row.get("metric") or measure.metric in (row.get("metrics") or {}))
    )


def source_of(record: Record, measure: Measure) -> tuple[object, ...]:
    """Return what tells a number of a run from its others; empty if the run has no such number.

    Args:
        record: Of the run.
        measure: Which number.
    """
    if measure.pretraining:
        return (measure.pretraining,) if measure.pretraining in record.pretraining else ()
    keys = ("index", "data", "features", "weights")
    return tuple((*map(row.get, keys), measure.metric or row.get("metric")) for row in _rows(record, measure)[:1])


def _value(row: Mapping[str, Any], measure: Measure) -> float | None:
    headline = measure.metric in ("", row.get("metric"))
    return _finite(row.get("value") if headline else (row.get("metrics") or {}).get(measure.metric))


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def values_of(record: Record, measure: Measure) -> list[float]:
    """Return what a run measured: one value for each seed of the evaluation, none if it has no such number."""
    if measure.pretraining:
        found = [_finite(record.pretraining.get(measure.pretraining))]
    else:
        found = [_value(row, measure) for row in _rows(record, measure)]
    return [value for value in found if value is not None] if None not in found else []


def _bootstrap(record: Record, measure: Measure) -> tuple[float, float] | None:
    rows = [] if measure.pretraining else _rows(record, measure)
    if len(rows) != 1 or measure.metric not in ("", rows[0].get("metric")):
        return None
    ends = [_finite(end) for end in rows[0].get("interval") or ()]
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def lacking(records: Sequence[Record], measure: Measure) -> str:
    """Return what runs lack that have not got a measure, and what they have instead.

    Args:
        records: Of finished runs.
        measure: What is read from them.
    """
    there: list[str] = []
    for record in records:
        there += record.pretraining if measure.pretraining else ()
        for row in _rows(record, replace(measure, metric="")) if measure.metric else ():
            there += row.get("metrics") or [str(row.get("metric"))]
    told = ", ".join(map(one_line, dict.fromkeys(there)))
    return f"{measure.sought}, but {told}" if told else measure.sought


def cell_of(runs: Sequence[Record | None], measure: Measure) -> Cell:
    """Return what runs that differ only in their seed measured.

    Args:
        runs: What came of each planned one, None if it has not ended.
        measure: What to read.
    """
    there = [record for record in runs if record is not None]
    finished = [record for record in there if record.status == "finished"]
    failed = [record for record in there if record.status != "finished"]
    values = [found for record in finished if (found := values_of(record, measure))]
    # Seeds of the evaluation are averaged first; where one run is all that was planned, they are what varies.
    alone = len(runs) == len(values) == 1
    samples = values[0] if alone else [mean_and_deviation(found)[0] for found in values]
    amount = len(runs)
    reasons = []
    if failed:
        reasons.append("failed: " + one_line(failed[0].reason or "no reason given", 200))
    if len(there) < amount:
        reasons.append("not run yet" if not there else f"{amount - len(there)} not run yet")
    if len(values) < len(finished):
        reasons.append(lacking(finished, measure))
    problem = "; ".join(reasons)
    if not samples:
        return Cell(None, measure.percent, planned=amount, problem=problem, failed=bool(failed))
    mean, deviation = mean_and_deviation(samples)
    if len(samples) == 1:
        interval = next((_bootstrap(record, measure) for record in finished if values_of(record, measure)), None)
    else:
        interval = seeds_interval(samples)
    if problem:
        problem = f"{len(values)} of {amount} seeds; {problem}"
    return Cell(mean, measure.percent, tuple(samples), deviation, interval, amount, problem, bool(failed))
