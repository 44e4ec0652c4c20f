"""Scores as people compare them: each with its interval, beside what costs nothing to reach.

Enters: rows of scores. Leaves: HTML, one table for each evaluation. Called by the report's pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.page import Html, escape, table
from sslkit.studies.charts import Axis, legend, short
from sslkit.studies.collect import Score
from sslkit.studies.rows import Row
from sslkit.studies.tracks import Reference, scale, track
from sslkit.studies.wording import is_fraction, shown_interval, shown_number, shown_value

METRICS: Final[Mapping[str, str]] = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_per_class": "mean accuracy per class",
    "mean_accuracy": "mean accuracy over what is named",
    "voc_map": "mean average precision (VOC 2007, 11 points)",
    "rankme": "RankMe, an effective number of dimensions",
}
"""What a metric is called."""

_DASHES: Final = {"chance": "2 3", "random": "5 3", "pixels": "1 2"}

STYLE: Final = """
.scores { width: 100%; table-layout: fixed; margin: 0.4rem 0 0.2rem; }
.scores th, .scores td { vertical-align: middle; padding-right: 1rem; }
.scores th { color: var(--ink); font-size: 0.92rem; font-weight: 400; width: 24%; }
.scores td.value { width: 15.5rem; padding-right: 0; text-align: right; white-space: nowrap; }
.scores td.value b { font-weight: 600; }
.scores .plot { padding: 0 1.2rem; }
.scores tr:last-child > * { border-bottom: 0; }
.scores tr.scale td { padding-block: 0; }
@media screen and (max-width: 40rem) {
  .scores, .scores tbody, .scores tr, .scores th, .scores td { display: block; width: 100%; }
  .scores tr { display: grid; grid-template-columns: 1fr auto; padding: 0.35rem 0; }
  .scores tr { border-bottom: 1px solid var(--line); }
  .scores th, .scores td, .scores td.value { width: auto; border: 0; padding: 0.1rem 0; }
  .scores .plot { grid-column: 1 / 3; grid-row: 2; padding: 0.1rem 1rem; }
  .scores tr.scale { border: 0; }
  .scores tr.scale .plot { grid-row: 1; }
}
"""
"""What a page with scores adds to its style."""


@dataclass(frozen=True)
class Group:
    """Scores that may be compared: one evaluation, one data set, one metric.

    Attributes:
        rows: At least one, each with a score.
        chance: What guessing reaches, if it is known.
    """

    rows: Sequence[Row]
    chance: float | None

    @property
    def score(self) -> Score:
        """What they have in common."""
        score = self.rows[0].score
        assert score is not None
        return score

    @property
    def title(self) -> str:
        """Evaluation, its setting, and data."""
        return f"{self.score.evaluated} on {self.score.data}"


def grouped(rows: Iterable[Row], predictions: Callable[[Row], Mapping[str, NDArray[Any]]]) -> list[Group]:
    """Return rows with a score by what was evaluated, in the order of their first.

    Args:
        rows: Of runs.
        predictions: Reads what is stored of a row's score; its labels tell what guessing reaches.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if (score := row.score) is not None:
            key = (score.evaluation, score.setting, score.data, score.split, score.metric, score.fingerprint)
            groups.setdefault(key, []).append(row)
    found = []
    for members in groups.values():
        first = members[0].score
        assert first is not None
        found.append(Group(members, chance(first.metric, predictions(members[0]).get("label"))))
    return found


def chance(metric: str, label: NDArray[Any] | None) -> float | None:
    """Return what can be had without looking at an image: by always naming the same class, or by ranking at random.

    Args:
        metric: Of the score.
        label: Of the test images, [n] or [n, classes]; None if unknown.
    """
    if label is None or not len(label):
        return None
    if metric == "voc_map":
        counted = np.maximum((label >= 0).sum(axis=0), 1)
        shares = (label == 1).sum(axis=0) / counted
        return float(shares[shares > 0].mean()) if shares.any() else None
    counts = np.sort(np.unique(label, return_counts=True)[1])[::-1]
    if metric == "mean_per_class":
        return 1 / len(counts)
    few = {"top1": 1, "top5": 5}.get(metric)
    return None if few is None else float(counts[:few].sum() / counts.sum())


def interval_text(row: Row) -> str:
    """Return how sure a row's value is: an interval, the deviation between seeds, or nothing."""
    score = row.score
    if score is None:
        return ""
    if row.deviation is not None:
        return f"± {shown_number(score.metric, row.deviation)}, {row.seeds} seeds"
    return shown_interval(score.metric, row.interval)


def scores_table(group: Group, *, label: Callable[[Row], str] | None = None) -> str:
    """Return a group's table: what was measured, where it lies on the axis, the number with its interval.

    Args:
        group: Of rows.
        label: Of a row; default: the features and weights.
    """
    metric = group.score.metric
    low, high = _ends(group)
    references = [*_references(group)]
    lines = []
    for row in group.rows:
        assert row.score is not None
        name = label(row) if label else row.score.measured
        sure = interval_text(row)
        number = shown_value(metric, row.value)
        words = ", ".join(filter(None, [f"{name}: {number}", sure]))
        plot = "" if row.value is None else track(
            row.value, words, low=low, high=high, interval=_bar(row), references=references,
            baseline=row.score.is_baseline,
        )  # fmt: skip
        behind = f' <span class="quiet">{escape(sure)}</span>' if sure else ""
        lines.append(
            f'<tr><th scope="row">{escape(name)}</th><td class="plot">{plot}</td>'
            f'<td class="value"><b>{escape(number)}</b>{behind}</td></tr>'
        )
    ticks = [shown_value(metric, value).replace(".00 %", " %") for value in np.linspace(low, high, 3)]
    lines.append(f'<tr class="scale" aria-hidden="true"><td></td><td class="plot">{scale(ticks)}</td><td></td></tr>')
    names = [
        (_line(reference), f"{reference.name}: {shown_value(metric, reference.value)}") for reference in references
    ]
    return f'<table class="scores">{"".join(lines)}</table>{legend(names) if names else ""}'


def _bar(row: Row) -> tuple[float, float] | None:
    if row.value is not None and row.deviation is not None:
        return row.value - row.deviation, row.value + row.deviation
    return row.interval


def _ends(group: Group) -> tuple[float, float]:
    if is_fraction(group.score.metric):
        return 0.0, 1.0
    values = [row.value for row in group.rows if row.value is not None] or [0.0]
    axis = Axis.of(min(0.0, *values), max(0.0, *values), 0, 1, whole=True)
    return axis.low, axis.high


def _references(group: Group) -> Iterator[Reference]:
    if group.chance is not None:
        yield Reference("chance", group.chance, _DASHES["chance"])
    for row in group.rows:
        if row.score is None or row.value is None or not math.isfinite(row.value):
            continue
        if row.score.weights == "random" and row.score.is_baseline:
            yield Reference("random backbone", row.value, _DASHES["random"])
        elif row.score.features == "pixels":
            yield Reference("raw pixels", row.value, _DASHES["pixels"])


def _line(reference: Reference) -> str:
    return (
        '<svg viewBox="0 0 4 18" width="4" height="18" aria-hidden="true">'
        f'<path class="reference" stroke-dasharray="{reference.dashes}" d="M2 0V18"/></svg>'
    )


def about(group: Group) -> str:
    """Return a line on what the numbers of a group are."""
    score = group.score
    parts = [METRICS.get(score.metric, score.metric), f"on the {score.split} split"]
    if score.n:
        parts.append(f"{score.n:,} images")
    text = ", ".join(parts)
    if any(row.deviation is not None for row in group.rows):
        return f"{text}; bars: mean ± deviation between seeds"
    return f"{text}; bars: 95 % bootstrap interval" if any(row.interval for row in group.rows) else text


def all_numbers(group: Group) -> str:
    """Return every metric of a group's rows, folded away; empty if there is nothing but the headline."""
    names = list(dict.fromkeys(name for row in group.rows if row.score for name in row.score.metrics))
    if not set(names) - {group.score.metric, "n"}:
        return ""
    rows = []
    for row in group.rows:
        assert row.score is not None
        values = (row.score.metrics.get(name) for name in names)
        first = f", first of {row.seeds} seeds" if row.seeds > 1 else ""
        rows.append([row.score.measured + first, *map(_number, names, values)])
    return f"<details><summary>All numbers</summary>{table(rows, ['measured', *names])}</details>"


def _number(name: str, value: Any) -> str | Html:
    if not isinstance(value, int | float):
        return ""
    return Html(escape(shown_value(name, value) if is_fraction(name) else short(float(f"{value:.6g}"))))
