"""VICReg: embeddings of two views are alike, every dimension varies, and no two dimensions say the same.

Enters: the projections z of V views of the global batch, one tensor [N, D] a view. Leaves: the loss and its three
terms. Called by the method, once a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Final

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from sslkit import LossOutput, full_precision
from sslkit_vicreg.embeddings import in_full_precision, off_diagonal_squares

LEAST_DEVIATION: Final = 1.0
"""Below it a dimension varies too little. Source: gamma, section 4.1."""

EPSILON: Final = 1e-4
"""Added to variances, so that the gradient of their root stays finite. Source: section 4.2."""


class VICReg(nn.Module):
    """Variance, invariance and covariance regularisation: no negatives, no second network, no normalised vectors.

    For two views with embeddings a and b, [N, D], the loss is
    `invariance_weight * s + variance_weight * v + covariance_weight * c` with the terms of the authors' code:
    s, the mean over images and dimensions of `(a - b)^2`;
    v, the mean over dimensions of `max(0, 1 - sqrt(variance + 1e-4))`, averaged over the two views;
    c, the squares of all covariances between different dimensions, divided by D, added up over the two views.
    Variances and covariances divide by N - 1. More views: the mean over all pairs of them.

    The paper prints two factors otherwise: equation 5 sums s over dimensions, and equation 6, as the pseudo-code of
    appendix A, adds v of the two views up. `variance_weight = 50` is the pseudo-code with its weight of 25.

    Means are taken over the global batch. Where N is below D no matrix [D, D] is made.

    Source: Bardes et al. 2022 (arXiv 2105.04906), section 4.1, equations 1 to 6; normalisation and weights:
    `main_vicreg.py` of the authors' code, for which the paper reports its results.

    Args:
        invariance_weight: Of s; lambda in the paper.
        variance_weight: Of v; mu in the paper. With 0 all images end in one point.
        covariance_weight: Of c; nu in the paper. With 0 dimensions repeat each other.

    Raises:
        ValueError: If a weight is negative or not finite.
    """

    min_views = 2

    def __init__(
        self,
        *,
        invariance_weight: Annotated[float, Ge(0)] = 25.0,
        variance_weight: Annotated[float, Ge(0)] = 25.0,
        covariance_weight: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        super().__init__()
        self.weights = {"invariance": invariance_weight, "variance": variance_weight, "covariance": covariance_weight}
        for term, weight in self.weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"VICReg: {term}_weight must be a finite number of at least 0, not {weight}")

    def forward(self, projections: Sequence[Tensor]) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [N, D] of the global batch. Computed in float32, also inside autocast; float64
                stays.

        Returns:
            The scalar loss, and its terms without their weights: `invariance`, `variance`, `covariance`.

        Raises:
            ValueError: If there are fewer than two views, or their shapes differ or are not [N, D].
            RunError: If the batch has one image only.
        """
        views = in_full_precision("VICReg", projections)
        with full_precision(views[0].device):
            pairs = list(combinations(views, 2))
            regularised = [_variance_and_covariance(view) for view in views]
            variance, covariance = (torch.stack(values).mean() for values in zip(*regularised, strict=True))
            terms = {
                "invariance": torch.stack([mse_loss(first, second) for first, second in pairs]).mean(),
                "variance": variance,
                "covariance": 2 * covariance,  # added up over the views of a pair, where variance is averaged
            }
            loss = sum((self.weights[name] * term for name, term in terms.items()), views[0].new_zeros(()))
        return LossOutput(loss, {name: term.detach() for name, term in terms.items()})

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return ", ".join(f"{term}_weight={weight!r}" for term, weight in self.weights.items())


def _variance_and_covariance(view: Tensor) -> tuple[Tensor, Tensor]:
    num_images, dim = view.shape
    centred = (view - view.mean(dim=0)) / (num_images - 1) ** 0.5
    deviations = (centred.square().sum(dim=0) + EPSILON).sqrt()
    return relu(LEAST_DEVIATION - deviations).mean(), off_diagonal_squares(centred, centred) / dim
