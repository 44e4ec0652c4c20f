"""Sums of exponentials over all pairs of rows, in square tiles of the upper triangle: half the work of rows.

Enters: the projections of a whole batch in one process, [M, P]. Leaves: the logarithm of each row's sum, and its
gradient. Called by `contrast` on a CPU; everything else goes through `row_blocks`, which has the same two methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import torch
from torch import Tensor

SMALLEST_TEMPERATURE: Final = 0.03
"""Cosines divided by less could overflow or vanish: no greatest value is subtracted here. From 0.03 on all exponentials
are within 3e14 of 1, and a pair's share of a sum over 100 000 rows is above exp(-2 / 0.03) / 1e5 = 1e-34, a normal
number in float32; denormal ones slow matrix products down 200 times."""

_SIDE = 768
"""Rows of a tile. Sides of 512 to 1024 are equally fast on two quiet cores, 256 takes a quarter longer. Large tiles are
disturbed less by other processes, as threads meet less often; the two of backward, 4.5 MiB, stay in the cache."""


@dataclass(frozen=True)
class SquareTiles:
    """All pairs of different rows; the similarity of a pair is the dot product of its rows.

    Attributes:
        rows: [M, P], with no product above 1 / `SMALLEST_TEMPERATURE`.
    """

    rows: Tensor

    def log_sums(self) -> Tensor:
        """Return log(sum over k != i of exp(similarity of i and k)) for each row i, [M]."""
        sums = self.rows.new_zeros(len(self.rows))
        for i, j, tile in self._tiles():
            sums[i] += tile.sum(dim=1)
            if i != j:
                sums[j] += tile.sum(dim=0)
        return sums.log_()

    def add_gradient(self, log_sums: Tensor, gradient: Tensor) -> None:
        """Add to `gradient` [M, P] that of the sum of all log sums, which `log_sums` returned."""
        inverse = log_sums.neg().exp_()
        buffer = _buffer(self.rows)
        for i, j, tile in self._tiles():
            # Row i meets row j in both their sums.
            tile.mul_(torch.add(inverse[i, None], inverse[j], out=buffer[: tile.numel()].view_as(tile)))
            gradient[i].addmm_(tile, self.rows[j])
            if i != j:
                gradient[j].addmm_(tile.T, self.rows[i])

    def _tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield exp(similarity) of rows i with rows j, 0 where a row meets itself; each lives until the next."""
        buffer = _buffer(self.rows)
        parts = [slice(start, start + _SIDE) for start in range(0, len(self.rows), _SIDE)]
        for i, j in combinations_with_replacement(parts, 2):
            upper, lower = self.rows[i], self.rows[j]
            tile = buffer[: len(upper) * len(lower)].view(len(upper), len(lower))
            torch.mm(upper, lower.T, out=tile).exp_()
            if i == j:
                tile.fill_diagonal_(0)
            yield i, j, tile


def _buffer(rows: Tensor) -> Tensor:
    return rows.new_empty(min(_SIDE, len(rows)) ** 2)
