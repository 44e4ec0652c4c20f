"""DCL: contrastive learning whose positives do not compete with the negatives; DCLW, with weights on positives.

Enters: the local projections z of V views, one tensor [B, P] a view. Leaves: the loss of the global batch and NT-Xent's
metrics. Called by the method, once a step; NT-Xent of the SimCLR plugin does the arithmetic but for the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Gt
from sslkit_simclr import NTXent
from torch import Tensor, nn
from torch.nn.functional import normalize

from sslkit import LossOutput, Progress, RunError, full_precision, gather_rows, world_size

Weighting = Literal["none", "von_mises_fisher"]

_MIN_NORM = 1e-6
"""Shortest length that is still normalised to 1, as in NT-Xent."""


class DCL(nn.Module):
    """Decoupled contrastive loss: NT-Xent without the positive in the denominator.

    There, a pair that is already alike scales the gradient of all its negatives down, most of all in small batches.
    For anchor i with another view p of its image, among the projections k of all other images, in all views, the loss
    is `-w * sim(i, p) / temperature + log(sum over k of exp(sim(i, k) / temperature))`, averaged over the V * B anchors
    of the global batch and an anchor's V - 1 positives. Without weights (w = 1) it is `simclr.nt_xent` with
    `decoupled = true` under the name of its paper; the paper adds the anchors up.

    With them, `w = 2 - exp(sim(i, p) / sigma) / mean over images of exp(sim / sigma)` for the same two views: pairs
    that are not yet alike pull harder. The paper does not say whether the gradient goes through w, and implementations
    differ; here it does not: it would push pairs apart that are more alike than others.

    Source: Yeh et al. 2022 (arXiv 2110.06848), section 3: L_DC, and L_DCW with the negative von Mises-Fisher weighting.

    Args:
        temperature: Divides the cosines.
        weighting: `von_mises_fisher` is DCLW.
        sigma: Spread of the weights: the smaller, the more they differ. Of no effect without weights.

    Raises:
        ValueError: If an option is out of range.
    """

    min_views = 2
    rank_local = True

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 0.1,
        weighting: Weighting = "none",
        sigma: Annotated[float, Gt(0)] = 0.5,
    ) -> None:
        super().__init__()
        if weighting not in get_args(Weighting):
            raise ValueError(f"DCL: weighting must be one of {', '.join(get_args(Weighting))}, not {weighting!r}")
        if not 0 < sigma < math.inf:
            raise ValueError(f"DCL: sigma must be a finite number above 0, not {sigma}")
        self.contrast = NTXent(temperature=temperature, decoupled=True)
        self.weighting = weighting
        self.sigma = sigma

    def forward(self, projections: Sequence[Tensor], progress: Progress | None = None) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [B, P] of this rank. Computed in float32, also inside autocast; float64 stays.
            progress: Where the pretraining stands; metrics are left out of steps that are not measured.

        Returns:
            The scalar loss of the global batch, equal on all ranks, and `contrastive_accuracy` and
            `contrastive_entropy`, as of NT-Xent.

        Raises:
            ValueError: If there are fewer than two views, or their shapes differ or are not [B, P] with B >= 1.
            RunError: If the global batch has one image only.
        """
        loss, metrics = self.contrast(projections, progress=progress)
        if len(projections[0]) * world_size() < 2:
            raise RunError("DCL pushes images apart, and the batch has 1: set pretrain.batch_size to 2 or more")
        if self.weighting == "von_mises_fisher":
            with full_precision(projections[0].device):
                loss = loss + self._of_weights(projections)
        return LossOutput(loss, metrics)

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return f"weighting={self.weighting!r}, sigma={self.sigma!r}"

    def _of_weights(self, projections: Sequence[Tensor]) -> Tensor:
        """Return what weights other than 1 add to the loss: the mean of (1 - w) * sim / temperature."""
        views = [view if view.dtype == torch.float64 else view.float() for view in projections]
        directions = [normalize(view, dim=1, eps=_MIN_NORM) for view in views]
        local = torch.stack([(first * second).sum(dim=1) for first, second in combinations(directions, 2)], dim=1)
        similarities = gather_rows(local)  # [images, pairs of views]
        weights = 2 - len(similarities) * (similarities.detach() / self.sigma).softmax(dim=0)
        return ((1 - weights) * similarities).mean() / self.contrast.temperature
