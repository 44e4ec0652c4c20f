"""Barlow Twins: dimension i of one view follows dimension i of the other, and no other dimension.

Enters: the projections z of V views of the global batch, one tensor [N, D] a view. Leaves: the loss and its two terms.
Called by the method, once a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from sslkit import LossOutput, full_precision
from sslkit_vicreg.embeddings import in_full_precision, off_diagonal_squares

EPSILON: Final = 1e-5
"""Added to variances. Source: the authors' code, which has torch's default."""


class BarlowTwins(nn.Module):
    """The cross-correlation of two views' embeddings, [D, D], is driven towards the identity.

    With embeddings a and b, [N, D], normalised over the batch to mean 0 and variance 1 in each dimension, and
    `c = a.T @ b / N`, the loss is `scale * (sum of (1 - c_ii)^2 + off_diagonal_weight * sum of c_ij^2, i != j)`.
    More views: the mean over all pairs of them.

    The batch is the global one. Where N is below D, the matrix c itself is not made.

    Source: Zbontar et al. 2021 (arXiv 2103.03230), equations 1 and 2; `main.py` of the authors' code.

    Args:
        off_diagonal_weight: lambda in the paper. With 0 dimensions repeat each other. Source: section 2.2 and the
            authors' code.
        scale: Of the whole loss. The authors' code has 1 and gives biases and normalisation a rate of their own, 0.024
            times that of the weights. LARS makes the weights' steps independent of the scale, so that 0.024 here is the
            same with one rate.

    Raises:
        ValueError: If an option is out of range.
    """

    min_views = 2

    def __init__(
        self,
        *,
        off_diagonal_weight: Annotated[float, Ge(0)] = 0.0051,
        scale: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= off_diagonal_weight < math.inf:
            raise ValueError(
                f"BarlowTwins: off_diagonal_weight must be a finite number of at least 0, not {off_diagonal_weight}"
            )
        if not 0 < scale < math.inf:
            raise ValueError(f"BarlowTwins: scale must be a finite number above 0, not {scale}")
        self.off_diagonal_weight = off_diagonal_weight
        self.scale = scale

    def forward(self, projections: Sequence[Tensor]) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [N, D] of the global batch. Computed in float32, also inside autocast; float64
                stays.

        Returns:
            The scalar loss, and its terms without weight and scale: `on_diagonal`, `off_diagonal`.

        Raises:
            ValueError: If there are fewer than two views, or their shapes differ or are not [N, D].
            RunError: If the batch has one image only.
        """
        views = in_full_precision("BarlowTwins", projections)
        with full_precision(views[0].device):
            scaled = [_normalised(view) / len(view) ** 0.5 for view in views]
            terms = [
                ((1 - (first * second).sum(dim=0)).square().sum(), off_diagonal_squares(first, second))
                for first, second in combinations(scaled, 2)
            ]
            on_diagonal, off_diagonal = (torch.stack(values).mean() for values in zip(*terms, strict=True))
            loss = self.scale * (on_diagonal + self.off_diagonal_weight * off_diagonal)
        return LossOutput(loss, {"on_diagonal": on_diagonal.detach(), "off_diagonal": off_diagonal.detach()})

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return f"off_diagonal_weight={self.off_diagonal_weight!r}, scale={self.scale!r}"


def _normalised(view: Tensor) -> Tensor:
    return batch_norm(view, None, None, training=True, eps=EPSILON)
