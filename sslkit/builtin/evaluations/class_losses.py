"""What a linear classifier is trained by: the cross-entropy of one label per image, or of several, and its gradient.

Enters: the scores of several classifiers at once. Leaves: each one's loss on each image, and the gradient by every
score in closed form: a classifier's own gradient is then one matrix product away. Called by `sgd_grid` and `l2_path`.

Near a solution the true class has a probability of almost 1, whose distance from 1 float32 has rounded away. Both
losses are therefore computed from what the other classes have, which is small and exact.
"""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_FAR: Final = 60.0  # exp of more is lost beside 1 in float32, and of far more a subnormal, which slows products down


class ClassLoss(Protocol):
    """A loss of G classifiers on the same images.

    Attributes:
        shift_invariant: A score added to all classes of an image changes nothing.
    """

    shift_invariant: bool

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return each image's losses, float32 [n, G], and their gradient by the scores, float32 [n, G, K].

        Args:
            scores: float32 [n, G, K]; may be overwritten by the gradient.
        """

    def spread(self, residuals: Tensor) -> Tensor:
        """Return the mean second derivative by each class's score, [G, K], from the gradient."""

    def rows(self, chosen: Tensor) -> ClassLoss:
        """Return the loss on some of the images, int64 [m]."""


def class_loss(labels: Tensor) -> ClassLoss:
    """Return the loss that labels ask for.

    Args:
        labels: int64 [n], or int8 [n, K] with 1 present, 0 absent, -1 difficult.
    """
    return OneLabel(labels) if labels.ndim == 1 else SeveralLabels.balanced(labels)


class OneLabel:
    """The mean cross-entropy of a softmax.

    Args:
        labels: int64 [n].
    """

    shift_invariant = True

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels

    def rows(self, chosen: Tensor) -> OneLabel:
        """Return the loss on some of the images."""
        return OneLabel(self._labels[chosen])

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and residuals softmax(scores) - onehot(labels)."""
        own = self._labels.view(-1, 1, 1).expand(-1, scores.shape[1], 1)
        powers = scores.sub_(scores.amax(dim=2, keepdim=True))
        own_score = powers.gather(2, own)
        own_power = own_score.exp()
        powers = powers.clamp_(min=-_FAR).exp_().scatter_(2, own, 0.0)
        others = powers.sum(dim=2, keepdim=True)
        total = own_power + others
        losses = torch.where(own_power > others, (others / own_power).log1p(), total.log() - own_score)
        residuals = powers.div_(total).scatter_(2, own, -others / total)
        return losses[..., 0], residuals

    def spread(self, residuals: Tensor) -> Tensor:
        """Return the mean of p (1 - p)."""
        sizes = residuals.abs()
        return (sizes - sizes.square()).mean(dim=0)


class SeveralLabels:
    """The binary cross-entropy, averaged over a class's images that are not difficult, and added up over classes.

    Each class is thus a logistic regression of its own, whatever the others are. `builtin.cross_entropy` does the same.

    Args:
        signs: float32 [n, K]: 1 present, -1 absent.
        shares: float32 [n, K]: n over the number of the class's images that count, 0 for those that do not.
    """

    shift_invariant = False

    def __init__(self, signs: Tensor, shares: Tensor) -> None:
        self._signs = signs
        self._shares = shares

    @classmethod
    def balanced(cls, labels: Tensor) -> SeveralLabels:
        """Return the loss of labels int8 [n, K]: 1 present, 0 absent, -1 difficult."""
        counted = (labels >= 0).float()
        shares = counted * (len(labels) / counted.sum(dim=0).clamp(min=1.0))
        return cls((labels == 1).float() * 2 - 1, shares)

    def rows(self, chosen: Tensor) -> SeveralLabels:
        """Return the loss on some of the images, weighted as on all."""
        return SeveralLabels(self._signs[chosen], self._shares[chosen])

    def __call__(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses and residuals."""
        signs, shares = self._signs[:, None], self._shares[:, None]
        margins = scores.mul_(signs).clamp_(max=_FAR)
        losses = (logsigmoid(margins) * shares).sum(dim=2).neg_()
        residuals = margins.neg_().sigmoid_().mul_(signs).mul_(shares).neg_()
        return losses, residuals

    def spread(self, residuals: Tensor) -> Tensor:
        """Return the weighted mean of p (1 - p)."""
        sizes = residuals.abs()
        return (sizes - sizes.square() / self._shares[:, None].clamp(min=1.0)).mean(dim=0)
