"""How many directions features fill: RankMe, alpha-ReQ, LiDAR and the participation ratio.

Enters: features, or groups of features of views of the same image. Leaves: numbers, computed in float64 with one pass
over the features and one eigendecomposition of the smaller Gram matrix. Called by `feature_health` and `online`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

EPSILON = 1e-7
"""Added to every share before the entropy. Source: Garrido et al. 2023 (RankMe), section 3; Thilak et al. 2024."""

RESOLUTION = 1e-5
"""A direction whose deviation is below this, relative to the root mean square of all entries, holds nothing but the
rounding of a float32 network. Our choice: float32 rounds at 6e-8, and a deep network adds some hundredfold."""

FIRST, LAST = 10, 100
"""Ranks of the eigenvalues between which alpha-ReQ's line is fitted; our choice, see `alpha_req`."""

_CHUNK = 8192  # rows in float64 at once


class Spectrum(NamedTuple):
    """The spectrum of features [n, D], float64, largest first, min(n, D) numbers each.

    Attributes:
        singular_values: Of the features as they are.
        variances: Eigenvalues of their covariance; those below `RESOLUTION` are 0.
        floor: The variance below which there is nothing.
    """

    singular_values: Tensor
    variances: Tensor
    floor: float

    @classmethod
    def of(cls, values: Tensor) -> Spectrum:
        """Return the spectrum of features [n, D], any float type."""
        num, dim = values.shape
        mean = torch.stack([part.double().sum(dim=0) for part in torch.split(values, _CHUNK)]).sum(dim=0) / num
        if num <= dim:
            rows = values.double()
            raw, centred = rows @ rows.T, (rows - mean) @ (rows - mean).T
        else:
            centred = torch.zeros(dim, dim, dtype=torch.float64, device=values.device)
            for part in torch.split(values, _CHUNK):
                rows = part.double() - mean
                centred.addmm_(rows.T, rows)
            raw = centred + num * torch.outer(mean, mean)
        floor = RESOLUTION**2 * float(raw.trace()) / (num * dim)
        variances = _eigenvalues(centred) / num
        return cls(_eigenvalues(raw).sqrt(), variances.where(variances > floor, 0.0), floor)


def rankme(values: Tensor | Spectrum) -> float:
    """Return RankMe: the exponential of the entropy of the singular values' shares, about the number of them in use.

    With s the singular values of the features, not centred, and p = s / sum(s) + 1e-7: exp(-sum(p log p)), at most
    min(n, D). Values of different n cannot be compared. Source: Garrido et al. 2023, equations 1 and 2.

    Args:
        values: Features [n, D], or their spectrum.

    Returns:
        0 where all features are zero, else 1 and more.
    """
    return _effective_number(_spectrum(values).singular_values)


def effective_dimensions(values: Tensor | Spectrum) -> float:
    """Return the participation ratio of the variances v, (sum v)^2 / sum(v^2): how many directions hold them.

    It listens to the large variances, RankMe to the small ones as well.

    Args:
        values: Features [n, D], or their spectrum.

    Returns:
        0 where all features are the same, else 1 to min(n - 1, D).
    """
    variances = _spectrum(values).variances
    return float(variances.sum().square() / variances.square().sum()) if variances.any() else 0.0


class PowerLaw(NamedTuple):
    """A line through the logarithms of eigenvalues and their ranks.

    Attributes:
        exponent: Alpha: the i-th variance falls as i to the -alpha. Not a number if there is no variance at all.
        first: Rank of the first eigenvalue that was fitted, from 1.
        last: Rank of the last.
    """

    exponent: float
    first: int
    last: int


def alpha_req(values: Tensor | Spectrum) -> PowerLaw:
    """Return alpha-ReQ: the exponent of the power law by which the variances of the principal directions fall.

    A least-squares line in the logarithms over ranks 10 to 100, or to the last variance there is (see `RESOLUTION`).
    Where there are fewer than 20, from rank 1 on, and one more, as small as can be told from none, closes the line: so
    features of low rank fall steeply, where a line through what is left of them would be flat. About 1 is good, larger
    is steeper. Source: Agrawal et al. 2022, section 3; the range is our choice.

    Args:
        values: Features [n, D], or their spectrum.
    """
    spectrum = _spectrum(values)
    filled = int((spectrum.variances > 0).sum())
    if not filled or len(spectrum.variances) < 2:
        return PowerLaw(math.nan, 0, 0)
    first, last = FIRST, min(LAST, filled)
    if last < 2 * FIRST:
        first, last = 1, min(filled + 1, len(spectrum.variances))
    ranks = torch.arange(first, last + 1, dtype=torch.float64).log()
    heights = spectrum.variances[first - 1 : last].cpu().clamp(min=spectrum.floor).log()
    ranks, heights = ranks - ranks.mean(), heights - heights.mean()
    return PowerLaw(-float(ranks @ heights / ranks.square().sum()), first, last)


def lidar(groups: Tensor, *, delta: float = 1e-4) -> float:
    """Return LiDAR: how many directions tell images apart better than they tell views of one image apart.

    With B the covariance of the groups' means, W the mean covariance within groups plus delta times the identity, and
    e the eigenvalues of W^-1/2 B W^-1/2: the exponential of the entropy of e / sum(e) + 1e-7. Source: Thilak et al.
    2024, section 4. Delta is here a multiple of the mean square of the entries, so that features of any scale get the
    same; at a mean square of 1 that is the published form.

    Args:
        groups: [n, q, D]: q views of each of n images. The shape says what belongs together; nothing is assumed from
            an order of rows.
        delta: Added to the variances within groups, relative to the mean square of the entries.

    Returns:
        0 where all images look the same, else 1 to min(n - 1, D).

    Raises:
        ValueError: If there are fewer than two groups or two views.
    """
    num, views, dim = groups.shape
    if num < 2 or views < 2:
        raise ValueError(f"LiDAR needs two views of two images, not {views} of {num}")
    within = torch.zeros(dim, dim, dtype=torch.float64, device=groups.device)
    means = torch.empty(num, dim, dtype=torch.float64, device=groups.device)
    square = 0.0
    size = max(1, _CHUNK // views)
    for start, part in zip(range(0, num, size), torch.split(groups, size), strict=True):
        rows = part.double()
        square += float(rows.square().sum())
        means[start : start + size] = rows.mean(dim=1)
        rows = (rows - means[start : start + size, None]).flatten(0, 1)
        within.addmm_(rows.T, rows)
    square /= num * views * dim
    if square == 0.0:
        return 0.0
    within /= num * views
    within.diagonal().add_(delta * square)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(within), (means - means.mean(dim=0)).T, upper=False)
    eigenvalues = _eigenvalues(whitened @ whitened.T if dim < num else whitened.T @ whitened) / num
    # Between groups, too, there is nothing below the resolution; within, there is delta at least.
    eigenvalues = eigenvalues.where(eigenvalues > RESOLUTION**2 / delta, 0.0)
    return _effective_number(pad(eigenvalues, (0, dim - len(eigenvalues))))


def _spectrum(values: Tensor | Spectrum) -> Spectrum:
    return values if isinstance(values, Spectrum) else Spectrum.of(values)


def _eigenvalues(gram: Tensor) -> Tensor:
    ascending: Tensor = torch.linalg.eigvalsh(gram)
    return ascending.flip(0).clamp(min=0.0)


def _effective_number(weights: Tensor) -> float:
    total = weights.sum()
    if total == 0:
        return 0.0
    shares = weights / total + EPSILON
    return float((-(shares * shares.log()).sum()).exp())
