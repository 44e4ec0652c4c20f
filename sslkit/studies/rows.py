"""Scores for tables: one row for the runs that differ only in their seed, with mean and deviation.

Enters: runs from `collect`. Leaves: rows. Called by `sslkit report` and the pages of reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sslkit.recipe.merge import names_no_path
from sslkit.studies.collect import Run, Score, is_run, read_runs
from sslkit.studies.recipes import what_leaves
from sslkit.studies.significance import mean_and_deviation

_WEIGHTS: Final = ("weights", "pretrain.weights")
_GENERATIONS: Final = 8  # of weights from weights; a run that names itself has no end


@dataclass(frozen=True)
class Row:
    """One line of a report: a score of one run, or of runs that differ only in their seed.

    Attributes:
        name: Of the runs.
        folders: All of them.
        status: Theirs, such as "finished" or "2 finished, 1 stopped".
        reason: More about the status, of a run that has no score.
        score: What was measured, the first of them; None if the run has no score.
        value: Mean over seeds; None if one of them is no number.
        deviation: Sample standard deviation between seeds; None for one seed.
        seeds: How many seeds.
        interval: Of a single score.
    """

    name: str
    folders: tuple[Path, ...]
    status: str
    reason: str = ""
    score: Score | None = None
    value: float | None = None
    deviation: float | None = None
    seeds: int = 0
    interval: tuple[float, float] | None = None


def gathered(runs: Sequence[Run], *, each: bool = False) -> list[Row]:
    """Return the rows of a report; runs without a score have one too.

    Scores are averaged over runs with different seeds that have all else in common: recipe, pretraining images, test
    images. The seeds may be those of the runs that the weights come from. Within a run several evaluation seeds are
    averaged first; of a single run they are what varies. If a seed was run twice, its last finished folder counts, or
    its last one if none is: a repetition is no second sample.

    Args:
        runs: In the order in which they are to appear.
        each: Keep every run and seed apart.
    """
    groups: dict[Hashable, dict[Hashable, Run]] = {}
    for run in runs:
        identity, seeds = _lineage(run) if run.recipe and run.scores and not each else (run.folder.resolve(), None)
        group = groups.setdefault(identity, {})
        if seeds not in group or run.status == "finished" or group[seeds].status != "finished":
            group[seeds] = run
    return [row for group in groups.values() for row in _rows([*group.values()], each=each)]


def _lineage(run: Run, depth: int = 0) -> tuple[Hashable, tuple[Hashable, ...]]:
    """Return what runs that differ only in their seed have in common, and the seeds: its own and its weights'."""
    asked = what_leaves(run.recipe)
    seeds: tuple[Hashable, ...] = (asked.pop("seed", None),)
    for key in _WEIGHTS:
        source = _run_of(asked[key]) if key in asked and depth < _GENERATIONS else None
        if source is not None:
            asked[key], more = _lineage(source, depth + 1)
            seeds += more
    return (run.pretraining_data, tuple(sorted((key, repr(value)) for key, value in asked.items()))), seeds


def _run_of(weights: Any) -> Run | None:
    """Return the run that wrote some weights, if its folder is there."""
    if names_no_path(str(weights)):
        return None
    path = Path(str(weights))
    folder = path if path.is_dir() else path.parent
    return read_runs([folder])[0] if is_run(folder) else None


def _rows(runs: Sequence[Run], *, each: bool) -> list[Row]:
    """Return the rows of one group of runs."""
    if not runs[0].scores:
        return [Row(run.name, (run.folder,), run.status, run.reason) for run in runs]
    found: dict[Hashable, dict[Path, list[Score]]] = {}
    for run in runs:
        for score in run.scores:
            apart = (score.index, score.seed) if each else ()
            found.setdefault((*score.what, score.fingerprint, apart), {}).setdefault(run.folder, []).append(score)
    amounts = Counter(run.status for run in runs)
    status = ", ".join(f"{amount} {word}" for word, amount in amounts.items()) if len(amounts) > 1 else runs[0].status
    return [_row(runs[0].name, status, by_run) for by_run in found.values()]


def _row(name: str, status: str, by_run: Mapping[Path, Sequence[Score]]) -> Row:
    """Average over runs; of a single run over the seeds of its evaluation."""
    scores = [score for of_run in by_run.values() for score in of_run]
    samples = list(by_run.values()) if len(by_run) > 1 else [[score] for score in scores]
    row = Row(
        name,
        tuple(by_run),
        status,
        score=scores[0],
        seeds=len(samples),
        interval=scores[0].interval if len(scores) == 1 else None,
    )
    if any(score.value is None for score in scores):
        return row
    means = [mean_and_deviation([score.value or 0.0 for score in sample])[0] for sample in samples]
    value, deviation = mean_and_deviation(means)
    return replace(row, value=value, deviation=deviation)
