"""L2-regularised logistic regression on frozen features: the paper's linear score of transfer, without a learning rate.

Enters: the features of the splits `train`, `test` and, where the data has one, `validation`. Leaves: the accuracies
of the data, the chosen strength and every prediction. Called by the engine for each `[[evaluate]]` table that names it.
The classifiers are found by `l2_path`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Annotated, Final

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from sslkit import (
    Data,
    DataError,
    Evaluation,
    Features,
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
from sslkit.builtin.evaluations.l2_path import NUMBERS_HELD, fit_path
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes

L2_VALUES: Final = tuple(10.0 ** (-6 + quarter / 4) for quarter in range(45))
"""1e-6 to 1e5 in steps of a quarter of a decade. Source: Chen et al. 2020 (SimCLR), appendix B.8.1."""

_SHARE_OF_MEMORY: Final = 0.25  # of a GPU's memory, for the strengths that are solved at once

logger = logging.getLogger("sslkit")


def logistic_regression(
    *,
    l2_values: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = L2_VALUES,
    validation_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
    tolerance: Annotated[float, Gt(0)] = 1e-5,
    max_iterations: Annotated[int, Ge(1)] = 5_000,
) -> Evaluation:
    """Return the evaluation: the best linear classifier of frozen features for the best strength of regularisation.

    What is minimised is mean cross-entropy + l2 / 2 * |W|^2, the bias left out of the penalty, on the features as they
    are: they are not scaled, so that the strength means what it does in the paper. (Inside, they are centred and
    rotated onto their principal axes, which changes no solution.) With several labels per image each class has a binary
    cross-entropy of its own, over the images in which it is not difficult, and all share one strength. scikit-learn
    calls n * l2 = 1 / C; with two classes n * l2 = 2 / C, for it holds one vector of weights there and not two.

    All strengths are solved on the training images; the one with the best score on validation images, by the metric of
    the data, is solved again on training and validation images together, and scored on test images, which took no part
    in any choice. Among equally good ones the middle one is taken. Validation images are the data's own split, or else
    a share of each class of the training images, drawn from the run's seed. With a single strength nothing is held out.
    If the best strength is the smallest or largest of the grid, the log says so and the metric `at_edge` is 1.
    Source: Chen et al. 2020 (SimCLR), appendix B.8.1; Kornblith et al. 2019.

    Args:
        l2_values: Strengths to choose from.
        validation_fraction: Share of each class held out where the data has no validation split.
        tolerance: How far an objective may be above its minimum, as a fraction of it. The gradient's square over
            2 * l2 bounds the distance, and is the metric `excess`. Where l2 is so small that float32 cannot tell the
            gradient finely enough, the search ends when 50 steps have not lowered the objective by 1e-7 of itself.
        max_iterations: Of L-BFGS for each strength; the metric `converged` is 0 if the final classifier had too few.

    Raises:
        DataError: (by the evaluation) If the features cannot be scored, no image can be held out, or all training
            images are of one class.
        NonFiniteError: (by the evaluation) If a feature is not finite.
    """
    strengths = sorted(set(l2_values), reverse=True)

    @needs_labels
    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        several = len(strengths) > 1
        features, held = training_features(pretrained, data, validation_fraction if several else None)
        test = labelled_features(pretrained, data, "test", multi_label=True)
        num_classes = count_classes(data, features.labels, test.labels)

        def fitted(part: Features, l2: list[float]) -> _Classifiers:
            return _Classifiers(part, num_classes, l2, tolerance, max_iterations, pretrained.device)

        best, chosen = 0, {}
        if several:
            grid = fitted(Features(features.values[~held], features.labels[~held]), strengths)
            outcomes = [
                classification_outcome(scores, features.labels[held], data)
                for scores in grid.scores(features.values[held])
            ]
            validation = [outcome.metrics[outcome.headline] for outcome in outcomes]
            equals = [place for place, value in enumerate(validation) if value == max(validation)]
            best = equals[len(equals) // 2]
            chosen = {
                f"validation_{outcomes[best].headline}": validation[best],
                "at_edge": float(best in (0, len(strengths) - 1)),
                "unconverged_in_grid": float(sum(not fit.converged for fit in grid.fits)),
            }
        final = fitted(features, [strengths[best]])
        [fit], [scores] = final.fits, final.scores(test.values)
        chosen |= {
            "l2": strengths[best],
            "objective": fit.objective,
            "excess": fit.excess,
            "iterations": float(fit.iterations),
            "converged": float(fit.converged),
        }
        _warn(chosen)
        outcome = classification_outcome(scores, test.labels, data)
        outcome.metrics.update(chosen)
        return outcome

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        check_labels(data, "train", "validation", "test")

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work(features=("train", "validation", "test"))  # type: ignore[attr-defined]
    return evaluate


def _warn(chosen: dict[str, float]) -> None:
    if chosen.get("at_edge"):
        logger.warning(
            "builtin.logistic_regression: the best l2, %g, is at the edge of l2_values; a wider grid may be better",
            chosen["l2"],
        )
    if not chosen["converged"]:
        logger.warning(
            "builtin.logistic_regression: not solved to its tolerance after %d iterations; raise max_iterations",
            chosen["iterations"],
        )


class _Classifiers:
    """One classifier per strength, fitted to some features.

    A class of which there is nothing to learn takes no part: its bias would have no bounds. Where images have one
    label, a class without images is never named; where they have several, its score is the one sign known of it.

    Attributes:
        fits: One per strength.
    """

    def __init__(
        self,
        part: Features,
        num_classes: int,
        l2: list[float],
        tolerance: float,
        max_iterations: int,
        device: torch.device,
    ) -> None:
        labels = part.labels
        if labels.ndim == 1:
            counts = labels.bincount(minlength=num_classes)
            self._learned = counts.nonzero()[:, 0]
            self._known = torch.full((num_classes,), torch.nan)
            labels = (counts > 0).cumsum(0)[labels] - 1
        else:
            present, absent = (labels == 1).any(dim=0), (labels == 0).any(dim=0)
            self._learned = (present & absent).nonzero()[:, 0]
            self._known = torch.where(present, 1.0, -1.0)
            labels = labels[:, self._learned]
        num_learned = len(self._learned)
        if num_learned < (2 if part.labels.ndim == 1 else 1):
            raise DataError(
                'the split "train": all images are of the same class, and nothing can be learned; use data with several'
            )
        self._device = device
        self._axes = PrincipalAxes.of(part.values.to(device) if device.type == "cuda" else part.values)
        at_once = 1
        if device.type == "cuda":
            room = _SHARE_OF_MEMORY * torch.cuda.get_device_properties(device).total_memory
            at_once = max(1, int(room / (NUMBERS_HELD * 4 * len(labels) * num_learned)))
        self.fits = fit_path(
            self._axes.lay(part.values, device),
            class_loss(labels.to(device)),
            num_learned,
            l2,
            tolerance=tolerance,
            max_iterations=max_iterations,
            at_once=at_once,
        )

    def scores(self, values: Tensor) -> Iterator[Tensor]:
        """Yield each classifier's scores of features, float32 [n, classes], on the CPU."""
        laid = self._axes.lay(values, self._device)
        for fit in self.fits:
            scores = self._known.repeat(len(values), 1)
            scores[:, self._learned] = (laid @ fit.weights).cpu()
            yield scores
