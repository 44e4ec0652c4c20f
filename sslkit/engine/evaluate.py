"""What frozen weights are worth: every evaluation on every kind of features asked for.

Enters: weights, data, evaluations. Leaves: one `Result` per evaluation, weights, features and seed: the rows of
`summary.json`. The weights are the same bits afterwards. Called by `run` and from Python.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sslkit.engine.frozen import FrozenModel, without_head
from sslkit.engine.interfaces import Data, Evaluation, Outcome
from sslkit.engine.inventory import fingerprint_of
from sslkit.engine.unfinished import Notes
from sslkit.errors import NonFiniteError, PluginError, RunError
from sslkit.studies.scores import scorable
from sslkit.studies.significance import bootstrap_interval
from sslkit.studies.wording import measured


@dataclass(frozen=True)
class Result:
    """One evaluation of one kind of features of one set of weights.

    Attributes:
        evaluation: Its name.
        data: The data's name.
        features: "h", "z", a layer's name, "head." and the name of a layer of the head, or "pixels".
        weights: "pretrained", "random", or "none" for the pixels.
        outcome: Scores and predictions.
        seed: Of whatever the evaluation drew.
        interval: 95 % bootstrap interval of the headline over the test images; None where predictions do not give it.
        data_fingerprint: Of the test images; only predictions on equal ones can be paired.
        index: Number of the recipe's [[evaluate]] table, from 0.
    """

    evaluation: str
    data: str
    features: str
    weights: str
    outcome: Outcome
    seed: int
    interval: tuple[float, float] | None = None
    data_fingerprint: str = ""
    index: int = 0

    @property
    def title(self) -> str:
        """What is measured, in a few words."""
        return measured(self.features, self.weights)

    def row(self) -> dict[str, Any]:
        """Return the headline as one row of `summary.json`."""
        metrics = self.outcome.metrics
        return {
            "evaluation": self.evaluation,
            "data": self.data,
            "split": self.outcome.split,
            "features": self.features,
            "weights": self.weights,
            "metric": self.outcome.headline,
            "value": metrics[self.outcome.headline],
            "interval": self.interval,
            "n": int(metrics["n"]) if "n" in metrics else None,
            "seed": self.seed,
            "index": self.index,
        }


class Subject(NamedTuple):
    """What one evaluation measures: features of weights."""

    features: str
    weights: str
    model: FrozenModel


def subjects(
    model: FrozenModel,
    data: Data,
    features: Iterable[str],
    baselines: Iterable[str],
    untrained: FrozenModel | None,
    weights: str = "pretrained",
) -> list[Subject]:
    """Return everything that one evaluation measures.

    Called for all evaluations before the first runs, so that one pass over the images serves them all.

    Args:
        model: The weights.
        data: What they will be measured on.
        features: What to measure of them.
        baselines: "pixels", "random".
        untrained: The backbone before training.
        weights: What to call the weights.

    Raises:
        RunError: The baseline "random" is asked for, and there is no untrained backbone.
    """
    chosen = [Subject(name, weights, model.measuring(name, data)) for name in features]
    for baseline in baselines:
        if baseline == "pixels":
            chosen.append(Subject("pixels", "none", model.measuring("pixels", data)))
        elif weights == "random":  # they are their own baseline
            continue
        elif untrained is None:
            raise RunError('baselines = ["random"] needs the backbone before training: give untrained=')
        else:
            chosen += [
                Subject(name, "random", untrained.measuring(name, data))
                for name in without_head(features, model.backbone)
            ]
    return chosen


def evaluate(
    model: FrozenModel,
    data: Data,
    evaluations: Mapping[str, Evaluation] | Sequence[Evaluation],
    *,
    features: Sequence[str] = ("h",),
    baselines: Sequence[str] = (),
    untrained: FrozenModel | None = None,
    num_seeds: int = 1,
) -> list[Result]:
    """Evaluate frozen weights.

    Args:
        model: From `pretrain` or `load_backbone`.
        data: With `train` and `test` splits and labels.
        evaluations: Such as `[knn(), linear()]`; a mapping names them.
        features: What to measure: "h", "z", layers of the backbone, or of the head behind "head.".
        baselines: "pixels" measures the pixels themselves; "random" the backbone in `untrained`.
        untrained: The backbone before training.
        num_seeds: Repetitions, each with a seed of its own.

    Returns:
        One result per evaluation, kind of features and seed.

    Raises:
        SslkitError: The data cannot be measured on.
    """
    if not callable(getattr(data, "split", None)):
        raise RunError(
            f"{type(data).__name__} has no splits; evaluations want num_classes, class_names and split(name), which "
            'returns the data set called "train" or "test"'
        )
    named = evaluations if isinstance(evaluations, Mapping) else _named(evaluations)
    chosen = subjects(model, data, features, baselines, untrained)
    label = str(getattr(data, "name", type(data).__name__))
    return [
        measure(name, evaluation, label, data, subject, model.seed + repetition)
        for name, evaluation in named.items()
        for subject in chosen
        for repetition in range(num_seeds)
    ]


def measure(
    name: str,
    evaluation: Evaluation,
    data_name: str,
    data: Data,
    subject: Subject,
    seed: int,
    unfinished: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Result:
    """Run one evaluation on one subject.

    Args:
        name: The evaluation's.
        evaluation: To run.
        data_name: The data's.
        data: With train and test images.
        subject: What is measured.
        seed: For what the evaluation draws.
        unfinished: Folder that keeps what it has done until it is through; None keeps nothing.
        identity: What that depends on.

    Raises:
        PluginError: The evaluation has changed the weights that it was lent.
    """
    before = subject.model.sums()
    notes = Notes(unfinished, identity)
    checkpoints = None if unfinished is None else unfinished / "checkpoints"
    outcome = evaluation(subject.model.lent(seed, notes, checkpoints), data)
    _require_outcome(name, outcome)
    if subject.model.sums() != before:
        raise PluginError(f"{name} has changed the weights it was to measure; an evaluation that trains needs a copy")
    predictions = outcome.predictions
    known = scorable(outcome.headline, predictions)
    interval = bootstrap_interval(outcome.headline, predictions) if known else None
    fingerprint = fingerprint_of(data.split(outcome.split))
    notes.discard()
    return Result(name, data_name, subject.features, subject.weights, outcome, seed, interval, fingerprint)


def _require_outcome(name: str, outcome: object) -> None:
    """Refuse what an evaluation of somebody else may return."""
    if not isinstance(outcome, Outcome):
        raise PluginError(
            f"{name} returned {type(outcome).__name__}; it should return sslkit.Outcome(headline, metrics)"
        )
    if outcome.headline not in outcome.metrics:
        known = ", ".join(outcome.metrics) or "none"
        raise PluginError(f'{name}: the headline "{outcome.headline}" is not among its metrics: {known}')
    if not math.isfinite(outcome.metrics[outcome.headline]):
        raise NonFiniteError(f"{name}: {outcome.headline} is {outcome.metrics[outcome.headline]}")


def _named(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """Return evaluations by name: `knn`, and a second one `knn 2`."""
    named: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        # A factory returns a function of its own, `knn.<locals>.evaluate`: the factory's name is the one to show.
        name = str(getattr(evaluation, "__qualname__", type(evaluation).__name__)).partition(".")[0]
        numbered = (f"{name} {number}" for number in itertools.count(2))
        named[name if name not in named else next(title for title in numbered if title not in named)] = evaluation
    return named
