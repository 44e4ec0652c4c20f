"""A linear classifier on frozen features: the score that self-supervised methods are compared by.

Enters: the features of the splits `train`, `test` and, where the data has one, `validation`. Leaves: the accuracies
of the data, the chosen setting and every prediction. Called by the engine for each `[[evaluate]]` table that names it.
The classifiers are trained by `sgd_grid`.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from sslkit import (
    Data,
    Evaluation,
    NonFiniteError,
    Outcome,
    Pretrained,
    Work,
    check_labels,
    classification_outcome,
    count_classes,
    labelled_features,
    needs_labels,
    training_features,
)
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.sgd_grid import Setting, train_classifiers

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

    @needs_labels
    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        several = len(settings) > 1
        found, held = training_features(pretrained, data, validation_fraction if several else None)
        test = labelled_features(pretrained, data, "test", multi_label=True)
        num_classes = count_classes(data, found.labels, test.labels)
        rule = _Rescaling.of(found.values)
        features = rule.applied(found.values).to(pretrained.device)
        loss = class_loss(found.labels.to(pretrained.device))

        def trained(chosen: Tensor, tried: list[Setting]) -> list[Tensor]:
            return train_classifiers(
                features, loss, chosen.nonzero()[:, 0], num_classes, tried, epochs, batch_size, pretrained.seed
            )

        def validated(candidate: Tensor, held_features: Tensor) -> float:
            if not torch.isfinite(candidate).all():
                return -1.0
            outcome = classification_outcome(held_features @ candidate, found.labels[held], data)
            return outcome.metrics[outcome.headline]

        best, validation = 0, []
        if several:
            held_features = features[held.to(features.device)]
            validation = [validated(candidate, held_features) for candidate in trained(~held, settings)]
            best = validation.index(max(validation))  # the lowest rate among equals
        [classifier] = trained(torch.ones_like(held), [settings[best]])
        if not torch.isfinite(classifier).all():
            raise NonFiniteError(
                "every classifier of builtin.linear diverged; lower its learning_rates or weight_decays "
                "(their product, times batch_size/256, must stay below 1)"
            )
        scores = rule.applied(test.values).to(pretrained.device) @ classifier
        outcome = classification_outcome(scores, test.labels, data)
        if several:
            outcome.metrics[f"validation_{outcome.headline}"] = validation[best]
        outcome.metrics["learning_rate"] = settings[best].learning_rate * 256 / batch_size
        outcome.metrics["weight_decay"] = settings[best].weight_decay
        return outcome

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        check_labels(data, "train", "validation", "test")

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work(features=("train", "validation", "test"))  # type: ignore[attr-defined]
    return evaluate


class _Rescaling(NamedTuple):
    """Centres features by the mean of the training images and divides by their root mean square norm."""

    centre: Tensor
    scale: float

    @classmethod
    def of(cls, values: Tensor) -> _Rescaling:
        centre = values.mean(dim=0)
        # In float64: the squares of features from a diverged network overflow float32.
        norm = torch.linalg.vector_norm(values - centre, dtype=torch.float64) / len(values) ** 0.5
        return cls(centre, float(norm) or 1.0)  # collapsed features, all the same, are scored as they are: at chance

    def applied(self, values: Tensor) -> Tensor:
        """Return values, rescaled, with a last column of ones for the bias."""
        columns = torch.ones(len(values), values.shape[1] + 1)
        torch.sub(values, self.centre, out=columns[:, :-1])
        columns[:, :-1].div_(self.scale)
        return columns
