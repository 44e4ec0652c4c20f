"""Which training images become the validation split of a set whose creators gave none.

Enters: what names each image, and the labels. Leaves: a mask. Called by `transfer_sets`. A pure function of the
images themselves: no seed, no generator whose numbers change with a version, no dependence on the order of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]


def held_out(keys: Iterable[bytes], labels: Labels, count: int) -> Mask:
    """Return which images are held out, bool [n]: in each class those whose key has the smallest SHA-256.

    Each class gives its share of `count`, rounded down; what is then missing comes, one image each, from the classes
    with the largest remainders, the lower class number first.

    Args:
        keys: What names an image, n of them: its path within the set, or its pixels.
        labels: int64 [n].
        count: How many images to hold out, at most n.
    """
    sizes = np.bincount(labels)
    shares, remainders = np.divmod(sizes * count, max(len(labels), 1))
    largest = np.argsort(-remainders, kind="stable")
    shares[largest[: count - int(shares.sum())]] += 1
    return rank_in_class(keys, labels) < shares[labels]


def rank_in_class(keys: Iterable[bytes], labels: Labels) -> npt.NDArray[np.int64]:
    """Return the place of each image among those of its class, in the order of their keys' SHA-256, int64 [n].

    Args:
        keys: As for `held_out`. Equal ones keep their order.
        labels: int64 [n].
    """
    digests = np.array([hashlib.sha256(key).digest() for key in keys], dtype="S32")
    order = np.argsort(digests, kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks
