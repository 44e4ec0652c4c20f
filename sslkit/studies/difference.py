"""How runs differ: in their scores, with the paper's test of each difference, and in their recipes.

Enters: runs from `collect`. Leaves: one `Comparison` for each evaluation that runs share, and the keys of their recipes
that differ. Called by `sslkit compare`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError, RunError
from sslkit.studies.collect import Run, Score
from sslkit.studies.recipes import what_leaves
from sslkit.studies.scores import NEEDS, correct, labels_of, scorable, score
from sslkit.studies.settings import differing
from sslkit.studies.significance import LEVEL, bootstrap_interval, mcnemar, mean_and_deviation, permutation_test

_Stored = Sequence[Mapping[str, NDArray[Any]]]
Verdict = Literal["best", "tied", "worse", ""]

_RIGHT_OR_WRONG: Final = {"top1": "top1", "top5": "top5", "mean_per_class": "top1"}  # and what an image is in it
_ROUNDING: Final = 1e-5  # by which a score may differ from the one that its predictions give


@dataclass(frozen=True)
class Entry:
    """One run in a comparison.

    Attributes:
        run: Its position among those compared.
        score: What was measured of it.
        value: Mean over the evaluation's seeds.
        deviation: Between these seeds; None for one.
        interval: Of the value; None for several seeds.
        difference: To the best run's value, 0 or less; None where nothing is tested.
        p: Of the permutation test against the best.
        mcnemar: p of McNemar's exact test against the best; None where images are not just right or wrong.
        verdict: "best" of all, significantly; "tied" with the best, which is itself tied then; "worse"; or "" where
            nothing is tested. Best and tied are the paper's bold face.
    """

    run: int
    score: Score
    value: float
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    p: float | None = None
    mcnemar: float | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Comparison:
    """One evaluation that at least two runs share.

    Attributes:
        entries: One for each run that has it.
        problem: Why nothing is tested; "" if it was.
    """

    entries: tuple[Entry, ...]
    problem: str = ""

    @property
    def score(self) -> Score:
        """What was measured: the first run's, but rather of weights that are not random."""
        return next((entry.score for entry in self.entries if entry.score.weights != "random"), self.entries[0].score)

    @property
    def options(self) -> dict[str, list[Any]]:
        """Options in which the evaluations themselves differ, with the value in each entry, None where it has none."""
        several = [entry.score.options for entry in self.entries]
        return {name: [options.get(name) for options in several] for name in differing(several)}


def compare(runs: Sequence[Run], names: Sequence[str]) -> list[Comparison]:
    """Compare the runs in every evaluation that at least two of them share, each with the best.

    Evaluations of the same name are matched by the options in which those of one run differ, wherever they stand in
    the recipe. What is left of differences, the comparison has in its `options`: these are different protocols.
    A run that is about random weights is compared with the weights of the others.

    Args:
        runs: To compare.
        names: By which messages call them.
    """
    shared: dict[tuple[str, ...], dict[int, list[Score]]] = {}
    for position, run in enumerate(runs):
        for found in run.scores:
            if found.value is not None:
                what = replace(found, weights=found.weights if found.is_baseline else "").what
                shared.setdefault(what, {}).setdefault(position, []).append(found)
    return [_compared(by_run, names) for by_run in shared.values() if len(by_run) > 1]


def recipe_difference(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return dotted key to the value of each run, None where it has none, of all keys in which the recipes differ.

    What follows from the rest is left out, and so are folders of data of which only the place differs.

    Args:
        runs: To compare; those whose recipe cannot be read have no values.
    """
    found = [what_leaves(run.recipe) for run in runs]
    keys = dict.fromkeys(key for tree in found for key in tree)
    values = {key: [tree.get(key) for tree in found] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _compared(by_run: Mapping[int, Sequence[Score]], names: Sequence[str]) -> Comparison:
    """Test each run against the best, if their predictions are of the same images."""
    metric = next(iter(by_run.values()))[0].metric
    entries = tuple(_entry(position, scores) for position, scores in by_run.items())
    if metric not in NEEDS:
        return Comparison(entries, f"{metric} is no score of single images")
    try:
        stored = {position: [found.predictions() for found in scores] for position, scores in by_run.items()}
        _require_pairs(by_run, stored, names)
    except (DataError, RunError) as error:
        return Comparison(entries, str(error))
    entries = tuple(_with_interval(entry, stored[entry.run], metric) for entry in entries)
    best = max(entries, key=lambda entry: entry.value)
    others = {entry.run: _against(best, entry, metric, stored) for entry in entries if entry is not best}
    alone = all(entry.verdict == "worse" for entry in others.values())
    others[best.run] = replace(best, difference=0.0, verdict="best" if alone else "tied")
    return Comparison(tuple(others[position] for position in by_run))


def _entry(position: int, scores: Sequence[Score]) -> Entry:
    value, deviation = mean_and_deviation([found.value for found in scores if found.value is not None])
    return Entry(position, scores[0], value, deviation, scores[0].interval if len(scores) == 1 else None)


def _with_interval(entry: Entry, stored: _Stored, metric: str) -> Entry:
    """Give a single score the interval that it was stored without."""
    if entry.interval is not None or len(stored) > 1:
        return entry
    return replace(entry, interval=bootstrap_interval(metric, stored[0]))


def _require_pairs(by_run: Mapping[int, Sequence[Score]], stored: Mapping[int, _Stored], names: Sequence[str]) -> None:
    """Refuse what would compare a prediction for one image with a prediction for another.

    Raises:
        RunError: Says whose predictions do not pair, and why.
    """
    first = next(iter(by_run))
    reference = by_run[first][0]
    for position, scores in by_run.items():
        pair = f"{names[first]} and {names[position]}"
        for number, (found, predictions) in enumerate(zip(scores, stored[position], strict=True)):
            if found.fingerprint and reference.fingerprint and found.fingerprint != reference.fingerprint:
                raise RunError(f"{pair} were tested on different images")
            if not scorable(found.metric, predictions):
                raise RunError(f"{names[position]} has no stored predictions; evaluate it again")
            # What is asked of an image may be drawn, and be another in each repetition.
            others = labels_of(stored[first][min(number, len(stored[first]) - 1)])
            if not _equal(labels_of(predictions), others):
                raise RunError(f"{pair} were tested on images with different labels")
            if abs(score(found.metric, predictions) - (found.value or 0.0)) > _ROUNDING:
                raise RunError(f"the stored predictions of {names[position]} do not give its score; evaluate it again")


def _equal(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _against(best: Entry, entry: Entry, metric: str, stored: Mapping[int, _Stored]) -> Entry:
    """Test one run against the best one; of several seeds what each image adds is averaged."""
    theirs, own = (np.mean([correct(metric, one) for one in stored[run]], axis=0) for run in (best.run, entry.run))
    p = permutation_test(theirs, own)
    # In VOC the test is of accuracy, and the best by average precision need not be the best there.
    worse = p <= LEVEL and own.mean() < theirs.mean()
    exact = None
    if metric in _RIGHT_OR_WRONG and len(stored[best.run]) == len(stored[entry.run]) == 1:
        exact = mcnemar(*(correct(_RIGHT_OR_WRONG[metric], stored[run][0]) for run in (best.run, entry.run)))
    difference = entry.value - best.value
    return replace(entry, difference=difference, p=p, mcnemar=exact, verdict="worse" if worse else "tied")
