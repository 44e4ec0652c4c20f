"""What frozen weights are worth: every evaluation on every kind of features asked for.

Enters: weights, data, evaluations. Leaves: one `Result` per evaluation, weights and features: the rows of
`summary.json`. Called by `run` and from Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Evaluation, Outcome


@dataclass(frozen=True)
class Result:
    """One evaluation of one kind of features of one set of weights.

    Attributes:
        evaluation: Its name.
        data: The data's name.
        features: "h", "z", a layer's name, or "pixels".
        weights: "pretrained", "random", or "none" for the pixels.
        outcome: Scores and predictions.
        seed: The run's seed.
    """

    evaluation: str
    data: str
    features: str
    weights: str
    outcome: Outcome
    seed: int

    @property
    def title(self) -> str:
        """What is measured, in a few words."""
        if self.features == "pixels":
            return "raw pixels"
        return self.features if self.weights == "pretrained" else f"{self.features}, {self.weights} backbone"

    def row(self) -> dict[str, Any]:
        """Return the headline as one row of `summary.json`."""
        metrics = self.outcome.metrics
        return {
            "evaluation": self.evaluation,
            "data": self.data,
            "split": "test",
            "features": self.features,
            "weights": self.weights,
            "metric": self.outcome.headline,
            "value": metrics[self.outcome.headline],
            "n": int(metrics["n"]) if "n" in metrics else None,
            "seed": self.seed,
        }


def subjects(
    model: FrozenModel, features: Iterable[str], baselines: Iterable[str], untrained: FrozenModel | None
) -> list[tuple[str, str, FrozenModel]]:
    """Return (features, weights, model) of everything one evaluation measures.

    Called for all evaluations before the first runs, so that one pass over the images serves them all.
    """
    chosen = [(name, "pretrained", model.measuring(name)) for name in features]
    for baseline in baselines:
        if baseline == "pixels":
            chosen.append(("pixels", "none", model.measuring("pixels")))
        elif untrained is not None:
            chosen.append(("h", "random", untrained))
    return chosen


def evaluate(
    model: FrozenModel,
    data: Data,
    evaluations: Mapping[str, Evaluation] | Sequence[Evaluation],
    *,
    features: Sequence[str] = ("h",),
    baselines: Sequence[str] = (),
    untrained: FrozenModel | None = None,
) -> list[Result]:
    """Evaluate frozen weights.

    Args:
        model: From `pretrain` or `load_backbone`.
        data: With `train` and `test` splits and labels.
        evaluations: Such as `[knn(), linear()]`; a mapping names them.
        features: What to measure: "h", "z", or layers of the backbone.
        baselines: "pixels" measures the pixels themselves; "random" the backbone in `untrained`.
        untrained: The backbone before training.

    Returns:
        One result per evaluation and kind of features.
    """
    named = evaluations if isinstance(evaluations, Mapping) else {_name(e): e for e in evaluations}
    chosen = subjects(model, features, baselines, untrained)
    label = str(getattr(data, "name", type(data).__name__))
    return [measure(name, evaluation, label, data, subject) for name, evaluation in named.items() for subject in chosen]


def measure(
    name: str, evaluation: Evaluation, data_name: str, data: Data, subject: tuple[str, str, FrozenModel]
) -> Result:
    """Run one evaluation on one subject."""
    features, weights, model = subject
    outcome = evaluation(model, data)
    return Result(name, data_name, features, weights, outcome, model.seed)


def _name(evaluation: Evaluation) -> str:
    # A factory returns a function of its own, `knn.<locals>.evaluate`: the factory's name is the one to show.
    return str(getattr(evaluation, "__qualname__", type(evaluation).__name__)).partition(".")[0]
