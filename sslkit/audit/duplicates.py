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
        details: uint8 [n, 16, 16]: a small grey copy of each.
        bits: By how many bits hashes may differ, 0 to 62.

    Returns:
        Positions, each group in order, groups in order of their first one.
    """
    units = _units(details)
    coarse = units.reshape(-1, 4, 4, 4, 4).sum(axis=(2, 4)).reshape(-1, 16) / 4
    parent = np.arange(len(hashes))
    for left, right in _candidates(hashes, bits):
        apart = parent[left] != parent[right]
        left, right = left[apart], right[apart]
        # A projection puts no two points further apart than they are: most pairs end at a sixteenth of the work.
        possible = ((coarse[left] - coarse[right]) ** 2).sum(axis=1) <= 2.001 * (1 - _CORRELATION)
        left, right = left[possible], right[possible]
        alike = (units[left] * units[right]).sum(axis=1) >= _CORRELATION
        for pair in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
            first, second = (_root(parent, position) for position in pair)
            parent[second] = first
        if alike.any():
            parent = parent[parent]
    return equal_groups(_root(parent, position) for position in range(len(parent)))


def _candidates(hashes: _Array, bits: int) -> Iterator[tuple[_Array, _Array]]:
    """Yield all pairs of positions whose hashes differ in `bits` bits or fewer, each pair once."""
    earlier: list[np.uint64] = []
    for low, high in pairwise(np.linspace(0, 64, bits + 2).astype(int).tolist()):
        mask = np.uint64((1 << high) - (1 << low))
        piece = hashes & mask
        order = np.argsort(piece, kind="stable")
        piece, sorted_hashes = piece[order], hashes[order]
        here, step = np.arange(len(piece)), 0
        while len(here):  # each with the next of its piece, then with the one after that, until no piece is so long
            step += 1
            here = here[: np.searchsorted(here, len(piece) - step)]
            here = here[piece[here] == piece[here + step]]
            differ = sorted_hashes[here] ^ sorted_hashes[here + step]
            near = np.bitwise_count(differ) <= bits
            for other in earlier:  # they have met there
                near &= (differ & other) != 0
            yield order[here[near]], order[here[near] + step]
        earlier.append(mask)


def _units(details: _Array) -> _Array:
    """Return float32 [n, 256] of mean 0 and length 1, so that a product is a correlation; zeros for a flat image."""
    values = details.reshape(-1, 256).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    result: _Array = values / np.where(length > 0, length, 1)
    return result


def _root(parent: _Array, position: int) -> int:
    while parent[position] != position:
        parent[position] = parent[parent[position]]
        position = int(parent[position])
    return position
