"""What losses of pairs have in common: unit vectors of two views, their positives, and the push from negatives.

Enters: the projections of a global batch, two tensors [N, P]. Leaves: its loss and metrics. Called by the method, once
a step, as `nt_logistic` or `margin_triplet`, which say what a pair costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from sslkit import LossOutput, Progress, RunError, full_precision
from sslkit_simclr.agreement import agreement
from sslkit_simclr.all_negatives import AllNegatives, Penalty
from sslkit_simclr.contrast import MIN_NORM
from sslkit_simclr.semi_hard import semi_hard_negatives

Negatives = Literal["all", "other_views"]
Mining = Literal["all", "semi_hard"]


class PairLoss(nn.Module, ABC):
    """The mean cost of a positive, and the mean penalty on negatives above a limit that the positive sets.

    It is given the rows of the global batch, on every rank the same.

    Args:
        negatives: Of an anchor: all rows of other images, or those of the other view only.
        mining: All of them count, or one, the semi-hard one.

    Attributes:
        penalty: On how far the similarity of a negative is above the limit.

    Raises:
        ValueError: If an option is unknown.
    """

    min_views = 2
    penalty: ClassVar[Penalty]

    def __init__(self, negatives: Negatives, mining: Mining) -> None:
        super().__init__()
        for name, value, known in (("negatives", negatives, Negatives), ("mining", mining, Mining)):
            if value not in get_args(known):
                names = ", ".join(get_args(known))
                raise ValueError(f"{type(self).__name__}: {name} must be one of {names}, not {value!r}")
        self.negatives = negatives
        self.mining = mining

    @abstractmethod
    def scale(self) -> float:
        """Return what cosines are multiplied by."""

    @abstractmethod
    def of_positives(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost of each positive and the limit for its anchor's negatives, [N] each.

        Args:
            similarity: [N], of the two views of each image.
        """

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, projections: Sequence[Tensor], progress: Progress | None = None) -> LossOutput:
        """Return the loss of two views.

        Args:
            projections: Two tensors [N, P]. Computed in float32, also inside autocast; float64 stays.
            progress: Where the pretraining stands; metrics are left out of steps that are not measured.

        Returns:
            The scalar loss and the detached scalars `contrastive_accuracy` (a fraction; see `agreement`) and, with
            semi-hard mining, `semi_hard_fraction`: of all anchors, those that are pushed from a negative.

        Raises:
            RunError: If there are not two views [N, P] of at least two images.
        """
        _check(type(self).__name__, projections)
        with full_precision(projections[0].device):
            rows = _unit_rows(projections) * self.scale() ** 0.5
            first, second = rows.chunk(2)
            costs, limits = self.of_positives((first * second).sum(dim=1))
            push, pushed = self._push(rows, limits.repeat(2))
            loss = costs.mean() + push
        if progress is not None and not progress.measured:
            return LossOutput(loss, {})
        found = agreement(first.detach(), second.detach(), torch.arange(len(first), device=rows.device))
        accuracy = {"contrastive_accuracy": found["contrastive_accuracy"]}
        return LossOutput(loss, accuracy if pushed is None else accuracy | {"semi_hard_fraction": pushed})

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        options = {name: value for name, value in vars(self).items() if name[0] != "_" and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())

    def _push(self, rows: Tensor, limits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the mean penalty, and with semi-hard mining the fraction of anchors that it has a slope for."""
        other_views = self.negatives == "other_views"
        if self.mining == "all":
            return AllNegatives.apply(self.penalty, other_views, rows, limits), None
        negatives, found = semi_hard_negatives(rows.detach(), other_views=other_views)
        excess = (rows * rows[negatives]).sum(dim=1) - limits
        pushed = self.penalty.slope(excess.detach()) * found > 0
        return (self.penalty.value(excess) * found).mean(), pushed.to(rows.dtype).mean()


def _check(owner: str, projections: Sequence[Tensor]) -> None:
    shapes = [tuple(view.shape) for view in projections]
    if len(shapes) != 2:
        raise RunError(f"{owner} compares 2 views of each image, got {len(shapes)}; simclr.nt_xent takes more")
    if len(shapes[0]) != 2 or shapes[0] != shapes[1]:
        raise RunError(f"{owner} needs projections [N, P] of one shape for both views, got {shapes[0]} and {shapes[1]}")
    if shapes[0][0] < 2:
        raise RunError(
            f"{owner} finds negatives in other images, got a batch of {shapes[0][0]}; set a larger batch_size"
        )


def _unit_rows(projections: Sequence[Tensor]) -> Tensor:
    joined = torch.cat(list(projections))
    return normalize(joined if joined.dtype == torch.float64 else joined.float(), dim=1, eps=MIN_NORM)
