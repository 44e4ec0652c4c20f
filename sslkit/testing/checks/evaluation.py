"""An evaluation measures and changes nothing."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

import numpy as np

from sslkit.engine.evaluations import BuiltEvaluation
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Outcome
from sslkit.testing.subject import Subject


def returns_an_outcome(subject: Subject) -> None:
    """With a headline that is one of its metrics."""
    outcome = _first(subject).outcome
    subject.require(
        isinstance(outcome, Outcome),
        "return sslkit.Outcome",
        f"it returns {type(outcome).__name__}",
        "return Outcome(headline, metrics)",
    )
    subject.require(
        outcome.headline in outcome.metrics,
        "have a headline among its metrics",
        f'the headline is "{outcome.headline}", the metrics are {", ".join(outcome.metrics) or "none"}',
        "name one of them",
    )


def metrics_are_finite_floats(subject: Subject) -> None:
    """Python's own, with names that are text."""
    for name, value in _first(subject).outcome.metrics.items():
        subject.require(
            isinstance(name, str) and type(value) in (float, int) and math.isfinite(value),
            "return metrics that are finite floats",
            f"{name} is {value!r}",
            "call float() on tensors and numpy scalars, and bound what it divides by",
        )


def outcome_can_be_written(subject: Subject) -> None:
    """Metrics as JSON, predictions as arrays without Python objects."""
    outcome = _first(subject).outcome
    try:
        json.dumps(outcome.metrics, allow_nan=False)
    except (TypeError, ValueError) as error:
        subject.fail("return metrics that JSON can hold", str(error), "call float() on tensors and numpy scalars")
    for name, array in outcome.predictions.items():
        subject.require(
            isinstance(array, np.ndarray) and array.dtype.kind in "biufU",
            "return predictions that are numpy arrays of numbers or text",
            f"{name} is {type(array).__name__} {getattr(array, 'dtype', '')}",
            "call .numpy() on tensors",
        )


def gives_the_same_metrics_twice(subject: Subject) -> None:
    """From the same weights, data and seed."""
    first, second = _first(subject), _measured(subject)
    subject.require(
        first.outcome.metrics == second.outcome.metrics,
        "find the same metrics twice",
        f"they are {first.outcome.metrics}, then {second.outcome.metrics}",
        "draw from a torch.Generator seeded with pretrained.seed",
    )


def leaves_the_weights_alone(subject: Subject) -> None:
    """Weights, buffers, gradients and the mode of backbone and head are as before."""
    found = _first(subject)
    subject.require(
        found.digest_before == found.model.digest(),
        "leave weights and buffers as they are",
        "they have changed",
        "train a copy: copy.deepcopy(pretrained.backbone)",
    )
    parts = [part for part in (found.model.backbone, found.model.head) if part is not None]
    subject.require(
        not any(module.training for part in parts for module in part.modules()),
        "leave the modules in eval mode",
        "one of them is in training mode",
        "train a copy: copy.deepcopy(pretrained.backbone)",
    )
    subject.require(
        not any(parameter.requires_grad for parameter in found.model.parameters()),
        "leave the weights frozen",
        "some require a gradient again",
        "train a copy: copy.deepcopy(pretrained.backbone)",
    )


class _Measured(NamedTuple):
    outcome: Outcome
    model: FrozenModel
    digest_before: str


def _first(subject: Subject) -> _Measured:
    return subject.once("measured", lambda: _measured(subject))


def _measured(subject: Subject) -> _Measured:
    built = subject.build()
    assert built.pretraining is not None
    evaluation: BuiltEvaluation = built.evaluations[0]
    model = built.pretraining.frozen()
    digest = model.digest()
    lent = model.measuring(evaluation.plan.features[0]).lent(0)
    return _Measured(evaluation.evaluation(lent, evaluation.data), model, digest)
