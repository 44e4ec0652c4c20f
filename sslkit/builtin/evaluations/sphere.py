"""How features lie on the unit sphere: near their other views, spread out, in every dimension.

Enters: features, or groups of features of views of the same image; they are divided by their norms here. Leaves:
numbers in float64. Called by `feature_health`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_CHUNK = 1024  # rows, or rows of the matrix of all pairs, at once


def deviations(values: Tensor) -> Tensor:
    """Return the deviation over the images of each dimension of the normalised features, times sqrt(D).

    Spread evenly over the sphere they are all 1, as large as they can be together; features that are all alike have
    0. Source: Chen and He 2021 (SimSiam), section 4.1.

    Args:
        values: Features [n, D].

    Returns:
        Float64 [D].
    """
    parts = torch.split(values, _CHUNK)
    mean = torch.stack([normalize(part.double(), dim=1).sum(dim=0) for part in parts]).sum(dim=0) / len(values)
    squares = torch.zeros_like(mean)
    for part in parts:
        squares += (normalize(part.double(), dim=1) - mean).square().sum(dim=0)
    return squares.mul(values.shape[1] / len(values)).sqrt()


def alignment(groups: Tensor) -> float:
    """Return the mean squared distance of two views of the same image, on the sphere: 0 to 4, small is good.

    Source: Wang and Isola 2020, equation 5 with alpha = 2; the mean is over all pairs of views.

    Args:
        groups: [n, q, D]: q >= 2 views of each of n images.
    """
    points = normalize(groups.double(), dim=2)
    # The squared distances of all pairs of q points add up to q times those to their mean.
    return float(points.var(dim=1, correction=1).sum(dim=1).mean()) * 2.0


def uniformity(values: Tensor) -> float:
    """Return the logarithm of the mean over pairs of images of exp(-2 d^2), on the sphere: -8 to 0, small is good.

    Source: Wang and Isola 2020, equation 6 with t = 2; no image is paired with itself.

    Args:
        values: Features [n, D], n >= 2.
    """
    points = normalize(values.double(), dim=1)
    squares, num = points.square().sum(dim=1), len(points)  # 1, but 0 for a feature of zero
    total = torch.zeros((), dtype=torch.float64, device=points.device)
    for start in range(0, num, _CHUNK):
        part = points[start : start + _CHUNK]
        distances = squares[start : start + _CHUNK, None] + squares - 2.0 * part @ points.T
        total += (-2.0 * distances.clamp(min=0.0)).exp().sum()
    return float((total - num).clamp(min=0.0).div(num * (num - 1)).log())
