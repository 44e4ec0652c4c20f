"""Margin triplet loss: a positive should be more similar than a negative, by a margin.

Enters: the projections of two views of the global batch. Leaves: the loss and its metrics. Called by the method, once
a step; `pairs` does the arithmetic.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sslkit_simclr.all_negatives import HINGE
from sslkit_simclr.pairs import Mining, Negatives, PairLoss


class MarginTriplet(PairLoss):
    """Margin triplet loss on cosines, which NT-Xent is compared with.

    An anchor u with positive v+ and a negative v- has `max(u.v- - u.v+ + margin, 0)`, all of them unit vectors; the
    loss is the mean over all triplets (u, v+, v-) of the global batch, those that cost nothing included. Both views of
    every image are anchors. Memory grows with N, not with its square.

    The paper gives the term of a triplet and not how they are put together. The mean is its expression averaged, and
    does not jump when a triplet stops to cost something, as the mean over the costly ones would.

    Semi-hard: each anchor has the one negative that is nearest to it among those that are farther than its positive and
    within the margin. An anchor without such a negative contributes 0 to the mean over anchors.

    Source: SimCLR, section 5.1, tables 2 (maximised there, so the sign) and 4; semi-hard negatives: Schroff et al. 2015
    (FaceNet), section 3.2.

    Args:
        margin: Between the cosines. The paper tried 0, 0.4, 0.8 and 1.6 (appendix B.10) and does not say which was
            best. Within 0 no negative is semi-hard.
        negatives: The rows of other images in both views, or of the view that the anchor is not from. The paper's
            table 4 has "other_views" for all losses (appendix B.10).
        mining: All negatives, or "semi_hard", the rows (sh) of the paper's table 4.

    Raises:
        ValueError: If an option is out of range.
    """

    penalty = HINGE

    def __init__(
        self,
        *,
        margin: Annotated[float, Ge(0)] = 0.8,
        negatives: Negatives = "all",
        mining: Mining = "all",
    ) -> None:
        super().__init__(negatives, mining)
        if not 0 <= margin < math.inf:
            raise ValueError(f"MarginTriplet: margin must be a finite number, 0 or more, not {margin}")
        if margin == 0 and mining == "semi_hard":
            raise ValueError(
                'MarginTriplet: no negative is semi-hard within margin = 0; set mining = "all" or a margin'
            )
        self.margin = margin

    def scale(self) -> float:
        """Return 1: margins are differences of cosines."""
        return 1.0

    def of_positives(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return 0, as nothing but triplets costs something, and where a negative begins to cost."""
        return torch.zeros_like(similarity), similarity - self.margin
