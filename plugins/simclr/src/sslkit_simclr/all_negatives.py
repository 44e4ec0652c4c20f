"""A penalty averaged over every anchor and every negative, and its gradient, in tiles: each pair of rows is met once.

Enters: the rows of two views, a limit for each row. Leaves: the mean, differentiable; memory is O(rows * tile). Called
by `pairs`.

With s_in the similarities of anchor i and negative n, t_i the anchor's limit and f the penalty, the value is the mean
of f(s_in - t_i). Who is whose negative is mutual, so that row i has, but for the number of pairs, the gradient
`sum over n of (f'(s_in - t_i) + f'(s_in - t_n)) z_n`, and t_i has `-sum over n of f'(s_in - t_i)`. No row needs the sum
of another: value and gradient come of one pass, in forward, and backward only multiplies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

_SIDE = {"cuda": 2048}
_OTHER_SIDE = 768
"""Rows of a tile, of which five live at a time: 80 MiB on a GPU, on a CPU 11 MiB. Source: `square_tiles`."""


class Penalty(NamedTuple):
    """A function of how far a similarity is above its limit, 0 at -inf, and its derivative.

    Attributes:
        value: Of a tensor, element by element; differentiable.
        slope: Its derivative, likewise.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


SOFTPLUS = Penalty(lambda excess: -logsigmoid(-excess), torch.sigmoid)
HINGE = Penalty(torch.relu, lambda excess: (excess > 0).to(excess.dtype))


class AllNegatives(torch.autograd.Function):
    """`AllNegatives.apply(penalty, other_views, rows, limits)`: the mean penalty, a scalar.

    Args:
        penalty: What is averaged.
        other_views: Negatives come from the other view only: N - 1 of them and not 2 (N - 1).
        rows: [2 N, P], the second view below the first, N >= 2; float32 or float64.
        limits: [2 N], one for each row as an anchor.
    """

    @staticmethod
    def forward(ctx: Any, penalty: Penalty, other_views: bool, rows: Tensor, limits: Tensor) -> Tensor:
        """Return the mean, and keep its gradient."""
        total, of_rows, of_limits = rows.new_zeros(()), torch.zeros_like(rows), torch.zeros_like(limits)
        for i, j, tile in _tiles(rows, other_views):
            excess = tile - limits[i, None]
            total += penalty.value(excess).sum()
            slopes = penalty.slope(excess)
            of_limits[i] -= slopes.sum(dim=1)
            if i != j:  # rows j are anchors, too, with rows i as their negatives
                excess = torch.sub(tile, limits[j], out=excess)
                total += penalty.value(excess).sum()
                theirs = penalty.slope(excess)
                of_limits[j] -= theirs.sum(dim=0)
                slopes += theirs
            of_rows[i].addmm_(slopes, rows[j])
            of_rows[j].addmm_(slopes.T, rows[i])
        number = len(rows) * (len(rows) // 2 - 1) * (1 if other_views else 2)
        ctx.save_for_backward(of_rows.div_(number), of_limits.div_(number))
        return total / number

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor) -> tuple[None, None, Tensor, Tensor]:
        """Return the gradients of rows and limits."""
        of_rows, of_limits = ctx.saved_tensors
        return None, None, of_rows * of_mean, of_limits * of_mean


def _tiles(rows: Tensor, other_views: bool) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the similarities of rows i with rows j, each pair of slices once, -inf where both are of one image."""
    size, side = len(rows) // 2, _SIDE.get(rows.device.type, _OTHER_SIDE)
    first = [slice(start, min(start + side, size)) for start in range(0, size, side)]
    second = [slice(size + part.start, size + part.stop) for part in first]
    pairs = product(first, second) if other_views else combinations_with_replacement(first + second, 2)
    for i, j in pairs:
        tile = rows[i] @ rows[j].T
        if i.start % size == j.start % size:
            tile.fill_diagonal_(-torch.inf)
        yield i, j, tile
