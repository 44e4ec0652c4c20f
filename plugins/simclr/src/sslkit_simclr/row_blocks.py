"""Sums of exponentials over the candidates of each row, in blocks of rows against all columns.

Enters: the projections of all ranks, and which of them are this rank's. Leaves: the logarithm of each local row's sum,
and its gradient, at any temperature and with candidates left out. Called by `contrast`; on a CPU, one process at usual
temperatures takes the faster `square_tiles`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_BYTES = {"cuda": 2**27}
_OTHER_BLOCK_BYTES = 2**22
"""Size of a block; backward has two. Few large blocks keep a GPU busy (a batch of 512 images is one block of 4 MiB, of
4096 images two of 128 MiB); on a CPU they had better stay in the cache."""

_FEWEST_ROWS = 64
"""Below, matrix products on a CPU take 4 times as long. Source: measured at [h, 128] x [128, 8192], two threads."""

_ABOVE_TINY = 8.0
"""Exponents stay so far above the smallest normal number that their products with projections are normal too."""


@dataclass(frozen=True)
class RowBlocks:
    """Local rows against all candidates; the similarity of a pair is the dot product.

    Who leaves whom out of its candidates is mutual, so that one pass over a row finds its whole gradient.

    Attributes:
        columns: [M, P], the rows of all ranks.
        local: Which of them are this rank's.
        marks: int64 [M] each: a row's candidates are those that have another mark than itself. Without any, a row has
            all candidates but itself.
    """

    columns: Tensor
    local: slice
    marks: tuple[Tensor, ...] = ()

    def log_sums(self) -> Tensor:
        """Return log(sum over candidates k of exp(similarity of i and k)) for each local row i; 0 without candidates.

        Returns:
            [number of local rows].
        """
        log_sums = self.columns.new_empty(self.local.stop - self.local.start)
        for part, block in self._blocks():
            greatest = block.amax(dim=1)
            lonely = greatest == -torch.inf
            greatest.masked_fill_(lonely, 0.0)  # -inf from itself would be nan
            sums = exp_(block.sub_(greatest[:, None])).sum(dim=1)
            log_sums[part] = sums.log_().add_(greatest).masked_fill_(lonely, 0.0)
        return log_sums

    def add_gradient(self, log_sums: Tensor, gradient: Tensor) -> None:
        """Add to `gradient` that of the sum of all ranks' log sums with respect to the local rows.

        Args:
            log_sums: [M], of all ranks, as their `log_sums` returned them.
            gradient: [number of local rows, P].
        """
        own = log_sums[self.local]
        other = _buffer(self.columns, len(own))
        for part, block in self._blocks():
            # Row i meets row k in its own sum and in that of k.
            theirs = exp_(torch.sub(block, log_sums, out=other[: len(block)]))
            shares = exp_(block.sub_(own[part, None])).add_(theirs)
            gradient[part].addmm_(shares, self.columns)

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield local rows and their similarities, [h, M], -inf where there is no candidate."""
        for part, block in similarities(self.columns[self.local], self.columns):
            start = self.local.start + part.start
            if not self.marks:
                block.diagonal(start).fill_(-torch.inf)
            for marks in self.marks:
                block.masked_fill_(marks[start : start + len(block), None] == marks, -torch.inf)
            yield part, block


def similarities(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield parts of the rows [n, P] and their dot products with the columns [M, P]: blocks [h, M], a few MiB each.

    All share one buffer: a block lives until the next.
    """
    buffer = _buffer(columns, len(rows))
    for start in range(0, len(rows), len(buffer)):
        part = slice(start, min(start + len(buffer), len(rows)))
        yield part, torch.mm(rows[part], columns.T, out=buffer[: part.stop - start])


def exp_(values: Tensor) -> Tensor:
    """Take the exponential in place.

    On a CPU what would be a denormal number is a small normal one instead, far below the rounding of any sum with a 1
    in it: denormal numbers slow exp down 100 times and matrix products 200 times, and at a temperature of 0.01 half of
    all pairs have one.
    """
    if values.device.type == "cpu":
        values.clamp_(min=math.log(torch.finfo(values.dtype).tiny) + _ABOVE_TINY)
    return values.exp_()


def _buffer(columns: Tensor, num_rows: int) -> Tensor:
    limit = _BLOCK_BYTES.get(columns.device.type, _OTHER_BLOCK_BYTES)
    height = max(limit // (len(columns) * columns.element_size()), _FEWEST_ROWS)
    return columns.new_empty(min(height, num_rows), len(columns))
