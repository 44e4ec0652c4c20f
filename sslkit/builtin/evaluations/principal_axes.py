"""Features along their principal axes: the same problem for a penalised classifier, but far better conditioned.

Enters: training features. Leaves: the axes, on which any features can be laid. Called by `logistic_regression`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

_ROWS: Final = 4096  # at once in float64
_RELATIVE_NOISE: Final = 1e-12  # of the variance along the first axis; below it, an axis is rounding of float64


class PrincipalAxes(NamedTuple):
    """Where features are centred, and the directions in which they vary.

    A rotation changes neither scores nor the norm of the weights, and an unpenalised bias makes up for the centring:
    the best classifier is the same one. Directions in which the training features do not vary get no weight from
    it, and are left out: with n images of D > n dimensions there are fewer than n.

    Attributes:
        centre: float64 [D].
        axes: float64 [D, r], orthonormal.
    """

    centre: Tensor
    axes: Tensor

    @classmethod
    def of(cls, features: Tensor) -> PrincipalAxes:
        """Return the axes of features [n, D].

        In float64, so that axes with little variance keep their digits beside axes with much.
        """
        wide = features.shape[1] > len(features)
        features = features if features.device.type == "cuda" else features.cpu()
        centre = features.mean(dim=0, dtype=torch.float64)
        parts = torch.split(features, _ROWS)
        if wide:
            centred = features.double() - centre
            variances, vectors = torch.linalg.eigh(centred @ centred.T)
        else:
            products = features.new_zeros(features.shape[1], features.shape[1], dtype=torch.float64)
            for part in parts:
                products.addmm_((part.double() - centre).T, part.double() - centre)
            variances, vectors = torch.linalg.eigh(products)
        kept = variances > _RELATIVE_NOISE * variances[-1].clamp(min=torch.finfo(torch.float64).tiny)
        axes = vectors[:, kept]
        if wide:
            axes = torch.linalg.qr(centred.T @ axes).Q
        return cls(centre, axes)

    def lay(self, features: Tensor, device: torch.device) -> Tensor:
        """Return features [n, D] along the axes, with a last column of ones for the bias: float32 [n, r + 1]."""
        laid = torch.ones(len(features), self.axes.shape[1] + 1, device=device)
        for part, row in zip(torch.split(features, _ROWS), range(0, len(features), _ROWS), strict=True):
            centred = part.to(self.axes.device).double() - self.centre
            laid[row : row + len(part), :-1] = (centred @ self.axes).to(device, torch.float32)
        return laid
