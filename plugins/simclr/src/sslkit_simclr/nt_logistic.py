"""NT-Logistic: each pair of projections is judged alone, the same image or not, by logistic regression.

Enters: the projections of two views of the global batch. Leaves: the loss and its metrics. Called by the method, once
a step; `pairs` does the arithmetic.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from sslkit_simclr.all_negatives import SOFTPLUS
from sslkit_simclr.pairs import Mining, Negatives, PairLoss


class NTLogistic(PairLoss):
    """Normalised temperature-scaled logistic loss, which NT-Xent is compared with.

    An anchor u with positive v+ and negatives v- has
    `-log sigmoid(u.v+ / temperature) - mean over v- of log sigmoid(-u.v- / temperature)`, all of them unit vectors; the
    loss is the mean over the 2 N anchors of the global batch. Both views of every image are anchors. Memory grows with
    N, not with its square.

    The paper gives the terms and not how they are put together. The mean over negatives is the paper's expression
    averaged over all triplets (u, v+, v-): positives and negatives weigh the same in a batch of any size, where a sum
    would let 8190 negatives drown the one positive.

    Semi-hard: the mean over v- is replaced by the one negative that is nearest to the anchor among those that are
    farther than its positive. This loss has no margin for it to lie in. An anchor without such a negative keeps the
    term of its positive: it is the very one whose positive is too far away.

    Source: SimCLR, section 5.1, tables 2 (maximised there, so the sign) and 4; semi-hard negatives: Schroff et al. 2015
    (FaceNet), section 3.2.

    Args:
        temperature: Divides the similarities. The paper tried 0.1, 0.2, 0.5 and 1.0 (appendix B.10) and does not say
            which was best.
        negatives: The rows of other images in both views, or of the view that the anchor is not from. The paper's
            table 4 has "other_views" for all losses (appendix B.10).
        mining: All negatives, or "semi_hard", the rows (sh) of the paper's table 4.

    Raises:
        ValueError: If an option is out of range.
    """

    penalty = SOFTPLUS

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 0.1,
        negatives: Negatives = "all",
        mining: Mining = "all",
    ) -> None:
        super().__init__(negatives, mining)
        if not 0 < temperature < math.inf:
            raise ValueError(f"NTLogistic: temperature must be a finite number above 0, not {temperature}")
        self.temperature = temperature

    def scale(self) -> float:
        """Return 1 / temperature."""
        return 1 / self.temperature

    def of_positives(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return -log sigmoid of the similarities, and 0: positives set no limit here."""
        return SOFTPLUS.value(-similarity), torch.zeros_like(similarity)
