"""What frozen features still know about how an image came to be, beside its class.

Enters: the features of the splits `train` and `test`, and the factors of data that know any. Leaves: for each factor,
how often a small network names it, and how often it would without looking. Called by the engine for each `[[evaluate]]`
table that names it. The network is that of `mlp_probe`.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import nn

from sslkit import Data, DataError, Evaluation, Features, Outcome, Pretrained, Work, did_you_mean, one_line
from sslkit.builtin.evaluations.mlp_probe import MLPProbe


def factor_probe(
    *,
    factors: tuple[str, ...] = (),
    hidden_dim: Annotated[int, Ge(1)] = MLPProbe.hidden_dim,
    epochs: Annotated[int, Ge(1)] = MLPProbe.epochs,
    batch_size: Annotated[int, Ge(1)] = MLPProbe.batch_size,
    learning_rate: Annotated[float, Gt(0)] = MLPProbe.learning_rate,
    weight_decays: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = MLPProbe.weight_decays,
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = MLPProbe.validation_fraction,
) -> Evaluation:
    """Return the evaluation: a small network for each factor names its value from features of untransformed images.

    It needs data that know factors, such as `builtin.shapes`; continuous ones come as the number of their quantile.
    The metrics hold each factor's accuracy and, as `chance_<factor>`, that of always naming the value that is most
    frequent in training; the headline is the mean of the accuracies. Learning by Adam, and the choice of weight decay
    and epoch on a share of the training images, as in `simclr.transform_probe`.

    Args:
        factors: Which; none named are all.
        hidden_dim: Width of the network's hidden layer.
        epochs: Passes over the training images.
        batch_size: At most this many images per step.
        learning_rate: Adam's, at the first step; one cosine to zero.
        weight_decays: Decoupled weight decays to choose from.
        validation_fraction: Share of the training images that chooses decay and epoch.

    Raises:
        DataError: (before the run) If the data know no such factors; (by the evaluation) or not for every image.
        NonFiniteError: (by the evaluation) If a feature is not finite.
    """
    probe = MLPProbe(hidden_dim, epochs, batch_size, learning_rate, weight_decays, validation_fraction)

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        for split in ("train", "test"):
            _factors(data, split, factors)

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        train, test = (
            {
                name: _labelled(pretrained, data, split, factor)
                for name, factor in _factors(data, split, factors).items()
            }
            for split in ("train", "test")
        )
        return probe.outcome(train, test, pretrained)

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work(features=("train", "test"))  # type: ignore[attr-defined]
    return evaluate


def _factors(data: Data, split: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return the factors that are wanted, all if none are named: int64 [n] each."""
    factors_of = getattr(data, "factors", None)
    known: dict[str, Any] = factors_of(split) if factors_of is not None else {}
    if not known:
        raise DataError(
            "these data know no factors beside the label; builtin.shapes does, and what simclr.transform_probe asks "
            "for is known of all data"
        )
    for name in wanted:
        if name not in known:
            advice = did_you_mean(name, known) or f"; they have {', '.join(map(one_line, known))}"
            raise DataError(f'factors: the data have no factor "{one_line(name)}"{advice}')
    return {name: known[name] for name in wanted or known}


def _labelled(pretrained: Pretrained, data: Data, split: str, factor: Any) -> Features:
    values = pretrained.features(data, split).values
    if len(values) != len(factor):
        raise DataError(
            f'builtin.factor_probe: {len(values)} images of the split "{split}" were read, and the data know the '
            f"factors of {len(factor)}; repair the images that were left out"
        )
    return Features(values, torch.as_tensor(factor, dtype=torch.int64))
