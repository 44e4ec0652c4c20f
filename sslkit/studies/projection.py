"""Features in two dimensions: principal components, and t-SNE where openTSNE is installed.

Enters: features [n, D]. Leaves: positions [n, 2]. Called by the report's pages.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_POINTS: Final = 1_000
"""Points of a t-SNE: some seconds."""

_PERPLEXITY: Final = 30  # Source: van der Maaten & Hinton 2008: typical values are 5 to 50
_COMPONENTS: Final = 50  # t-SNE sees these. Source: openTSNE's guide, as Kobak & Berens 2019
_EXACT: Final = 256  # up to so many dimensions or points, all components are cheap
_ROUNDS: Final = 8  # of subspace iteration, beyond


def principal_components(features: NDArray[Any], count: int = 2) -> tuple[Floats, Floats]:
    """Return the projections on the components of largest variance, and the share of variance that each explains.

    The sign of a component is that of its largest loading, so that equal features give equal maps. Beyond 256
    dimensions and points they are those of a subspace iteration from a fixed start: exact wherever variances differ.

    Args:
        features: [n, D], finite.
        count: Components; fewer if there are not as many dimensions or points.

    Returns:
        Positions [n, count], and shares [count]; without any variance, zeros.
    """
    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    largest = np.abs(centred).max(initial=0.0)
    if largest > 0:
        centred /= largest  # the squares of huge and of tiny features stay finite
    count = min(count, *centred.shape)
    basis = np.eye(centred.shape[1]) if centred.shape[1] <= _EXACT else _leading(centred, count)
    variances, vectors = np.linalg.eigh(_gram(centred @ basis))
    loadings = basis @ vectors[:, ::-1][:, :count]
    strongest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=0)[None], axis=0)
    total = np.square(centred).sum()
    shares = np.maximum(variances[::-1][:count], 0.0) / (total or 1.0)
    return (centred @ loadings) * np.where(strongest < 0, -1.0, 1.0) * (largest or 1.0), shares


def _leading(centred: Floats, count: int) -> Floats:
    """Return an orthonormal basis [D, d] of a space that holds the leading components."""
    if len(centred) <= _EXACT or not centred.any():
        return np.linalg.qr(centred.T).Q
    width = min(2 * count + 16, *centred.shape)
    basis = np.random.default_rng(0).standard_normal((centred.shape[1], width))
    for _ in range(_ROUNDS):
        images = centred.T @ (centred @ basis)
        lengths, directions = np.linalg.eigh(_gram(images))
        kept = lengths > lengths[-1] * 1e-14  # directions lost to rounding are no basis
        basis = images @ (directions[:, kept] / np.sqrt(lengths[kept]))
    return np.linalg.qr(basis).Q


def _gram(projected: Floats) -> Floats:
    return np.asarray(projected.T @ projected)


def has_tsne() -> bool:
    """Tell whether openTSNE is installed; it is not imported."""
    return importlib.util.find_spec("openTSNE") is not None


def tsne(features: NDArray[Any]) -> Floats:
    """Return the t-SNE map of the leading principal components, the same each time.

    Args:
        features: [n, D], finite; n at most a few thousand.

    Returns:
        Positions [n, 2].

    Raises:
        ImportError: openTSNE is not installed.
    """
    from openTSNE import TSNE

    reduced, _ = principal_components(features, _COMPONENTS)
    perplexity = max(1.0, min(_PERPLEXITY, (len(reduced) - 1) / 3))
    # One thread and exact neighbours: the sums come out in the same order each time.
    settings = {"perplexity": perplexity, "random_state": 0, "n_jobs": 1, "neighbors": "exact"}
    return np.asarray(TSNE(**settings).fit(reduced), dtype=np.float64)
