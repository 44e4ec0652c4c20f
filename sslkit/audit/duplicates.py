"""Copies among many images: the same bytes, or nearly the same picture.

Enters: hashes. Leaves: groups of positions. Called by `audit/audit`.

Near duplicates are found in two steps. Pairs whose 64-bit hashes differ in few bits are candidates: cut into one piece
more than bits may differ, two such hashes agree in at least one piece, so only hashes with an equal piece are compared.
Then small grey copies must correlate, which chance agreement of bits does not survive: of CIFAR-10's 60,000 images 807
pairs are within 6 bits, many of them plain objects on plain ground; 201 groups remain, nearly all of one picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np

NEAR_BITS: Final = 6
"""Bits by which near duplicates may differ. Source: measured on 200 photographs of ImageNet classes; 99 % and more are
found again when scaled to a third, saved as JPEG of quality 30, or cropped by 1 % on each side, 96 % when brightened by
a fifth. The hashes of different photographs are at least 14 bits apart."""

_CORRELATION = 0.97  # Source: as above, and looking at CIFAR-10's pairs: below it, other pictures begin
_Array = np.ndarray[Any, Any]


def equal_groups(keys: Iterable[Hashable]) -> list[list[int]]:
    """Return the positions of each key that stands more than once; None is nobody's key.

    Args:
        keys: One for each position.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key is not None:
            places[key].append(position)
    return [group for group in places.values() if len(group) > 1]


def near_groups(hashes: _Array, details: _Array, bits: int = NEAR_BITS) -> list[list[int]]:
    """Return groups of images of which each is nearly the same as another one of its group.

    Args:
        hashes: uint64 [n].
        details: uint8 [n, D]: grey values of a small copy of each.
        bits: By how many bits hashes may differ.

    Returns:
        Positions, each group in order, groups in order of their first one.
    """
    parent = np.arange(len(hashes))
    for left, right in _candidates(hashes, bits):
        apart = parent[left] != parent[right]  # spares the costlier look at most pairs that are joined already
        left, right = left[apart], right[apart]
        alike = _correlation(details[left], details[right]) >= _CORRELATION
        for pair in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
            first, second = sorted(_root(parent, position) for position in pair)
            parent[second] = first
    return equal_groups(_root(parent, position) for position in range(len(parent)))


def _candidates(hashes: _Array, bits: int) -> Iterator[tuple[_Array, _Array]]:
    edges = np.linspace(0, 64, bits + 2).astype(np.uint64)
    for low, high in pairwise(edges):
        piece = (hashes << (np.uint64(64) - high)) >> (np.uint64(64) - high + low)
        order = np.argsort(piece, kind="stable")
        piece, sorted_hashes = piece[order], hashes[order]
        here, step = np.arange(len(piece)), 0
        while len(here):  # each with the next of its piece, then with the one after that, until no piece is so long
            step += 1
            here = here[: np.searchsorted(here, len(piece) - step)]
            here = here[piece[here] == piece[here + step]]
            near = here[np.bitwise_count(sorted_hashes[here] ^ sorted_hashes[here + step]) <= bits]
            yield order[near], order[near + step]


def _correlation(left: _Array, right: _Array) -> _Array:
    left, right = (_standardised(values) for values in (left, right))
    correlation: _Array = (left * right).sum(axis=1)
    return correlation


def _standardised(values: _Array) -> _Array:
    centred = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    result: _Array = centred / np.where(length > 0, length, 1)
    return result


def _root(parent: _Array, position: int) -> int:
    while parent[position] != position:
        parent[position] = parent[parent[position]]
        position = int(parent[position])
    return position
