"""A linear classifier on frozen features: the score that self-supervised methods are compared by.

Enters: the features of the splits `train`, `test` and, where the data has one, `validation`. Leaves: top-1 and
top-5 accuracy, the chosen setting and every prediction. Called by the engine for each `[[evaluate]]` table that
names it. The classifiers are trained by `softmax_regression`.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor

from sslkit import Data, DataError, Evaluation, Features, NonFiniteError, Outcome, Pretrained
from sslkit.builtin.evaluations.labelled import (
    classification_outcome,
    count_classes,
    label_ranks,
    labelled_features,
)
from sslkit.builtin.evaluations.softmax_regression import Setting, train_classifiers

# Multiples of about 3: one step of the grid costs far less than a point of accuracy.
LEARNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def linear(
    *,
    epochs: Annotated[int, Ge(1)] = 100,
    batch_size: Annotated[int, Ge(1)] = 512,
    learning_rates: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = LEARNING_RATES,
    weight_decays: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (0.0,),
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
) -> Evaluation:
    """Return the evaluation: a classifier trained on frozen features of untransformed images.

    Nesterov momentum 0.9, weights from zero, one cosine to zero, no warm-up, learning rate times batch_size/256.
    Source: Chen et al. 2020 (SimCLR), appendix B.6 and the CIFAR-10 command of the official README. Two things
    differ. Images are not cropped or flipped anew in each epoch, so that features are computed once. And
    features are first centred and divided by one number, their root mean square norm over the training images:
    the shape of the cloud of features and the set of linear classifiers stay as they are (scaling each
    dimension by itself would favour some), but one learning rate means the same for h, for z, for a random
    backbone and for raw pixels, whose scales differ a thousandfold; without that, a comparison compares
    learning rates.

    All settings train side by side in one pass; the best on the validation images is trained again on training
    and validation images together, and the score is that of its last epoch on the test images, which took no
    part in any choice. Validation images are the data's own split, or else a share of each class of the
    training images, drawn from the run's seed. With a single setting nothing is held out.

    Args:
        epochs: Passes over the training images.
        batch_size: Images per step; the last batches of an epoch are evened out, none is dropped.
        learning_rates: Base rates to choose from, for features of unit norm.
        weight_decays: L2 penalties to choose from, on the weights but not on the bias.
        validation_fraction: Share of each class held out where the data has no validation split.

    Raises:
        DataError: (by the evaluation) If the features cannot be scored, or no image can be held out.
        NonFiniteError: (by the evaluation) If a feature is not finite, or every setting diverged.
    """
    settings = [Setting(rate * batch_size / 256, decay) for rate, decay in product(learning_rates, weight_decays)]

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        train = labelled_features(pretrained, data, "train")
        test = labelled_features(pretrained, data, "test")
        validation = labelled_features(pretrained, data, "validation") if _has_validation(data) else None
        parts = [train, test] if validation is None else [train, test, validation]
        num_classes = count_classes(data, *(part.labels for part in parts))
        train, test, *others = _rescaled(parts, pretrained.device)

        best, metrics = 0, {}
        everything = _joined([train, *others])
        if len(settings) > 1:
            if others:
                fit_part, held_out = train, others[0]
            else:
                held = balanced_holdout(train.labels.cpu(), validation_fraction, pretrained.seed).to(
                    train.labels.device
                )
                fit_part, held_out = _chosen(train, ~held), _chosen(train, held)
            candidates = train_classifiers(*fit_part, num_classes, settings, epochs, batch_size, pretrained.seed)
            accuracies = [
                float((label_ranks(held_out.values @ candidate, held_out.labels) == 0).double().mean())
                for candidate in candidates
            ]
            best = accuracies.index(max(accuracies))  # the lowest rate among equals
            metrics["validation_top1"] = accuracies[best]
        [classifier] = train_classifiers(
            *everything, num_classes, [settings[best]], epochs, batch_size, pretrained.seed
        )
        if not torch.isfinite(classifier).all():
            raise NonFiniteError(
                "every classifier of builtin.linear diverged; lower its learning_rates or weight_decays "
                "(their product, times batch_size/256, must stay below 1)"
            )

        scores = test.values @ classifier
        ranks = label_ranks(scores, test.labels)
        hits = {top: ranks < top for top in (1, 5)}
        outcome = classification_outcome(scores.argmax(dim=1), hits, test.labels, num_classes)
        metrics["learning_rate"] = settings[best].learning_rate * 256 / batch_size
        metrics["weight_decay"] = settings[best].weight_decay
        outcome.metrics.update(metrics)
        return outcome

    return evaluate


def balanced_holdout(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return which images to hold out, bool [n]: the fraction of each class, at least one where there are two.

    Args:
        labels: int64 [n], on the CPU.
        fraction: Share of each class, rounded to whole images.
        seed: Decides which images.

    Raises:
        DataError: If no class has two images.
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    taken = (counts * fraction).round().long().clamp(min=1).minimum(counts - 1).clamp(min=0)
    place_in_class = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_class] = place_in_class < taken.repeat_interleave(counts)
    if not held.any():
        raise DataError(
            "no class has two training images, so none can be held out to choose a learning rate; "
            "give builtin.linear one: learning_rates = [1.0], weight_decays = [0.0]"
        )
    return held


def _has_validation(data: Data) -> bool:
    try:
        data.split("validation")
    except DataError:
        return False
    return True


def _rescaled(parts: list[Features], device: torch.device) -> list[Features]:
    """Centre by the first part's mean, divide by its root mean square norm, append a 1 for the bias."""
    centre = parts[0].values.mean(dim=0)
    # In float64: the squares of features from a diverged network overflow float32.
    norm = torch.linalg.vector_norm(parts[0].values - centre, dtype=torch.float64) / len(parts[0].values) ** 0.5
    scale = float(norm) or 1.0  # collapsed features, all the same, are scored as they are: at chance
    rescaled = []
    for values, labels in parts:
        columns = torch.ones(len(values), values.shape[1] + 1)
        columns[:, :-1] = (values - centre) / scale
        rescaled.append(Features(columns.to(device), labels.to(device)))
    return rescaled


def _joined(parts: list[Features]) -> Features:
    if len(parts) == 1:
        return parts[0]
    return Features(torch.cat([part.values for part in parts]), torch.cat([part.labels for part in parts]))


def _chosen(features: Features, mask: Tensor) -> Features:
    return Features(features.values[mask], features.labels[mask])
