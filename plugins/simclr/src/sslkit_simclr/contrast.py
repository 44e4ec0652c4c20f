"""The contrastive loss of a global batch as one differentiable step, with its gradient in closed form.

Enters: the local projections of V views, and who is positive, who a candidate. Leaves: the loss of the global batch,
equal on all ranks; backward, the gradient of the local projections. Called by `nt_xent`, once a step.

With s_ik the similarities, P(i) the positives of an anchor and D(i) its candidates in the denominator, the loss is the
mean over all M anchors of `log(sum over k in D(i) of exp(s_ik)) - mean over p in P(i) of s_ip`. Both relations are
mutual. So row i has, for M times the loss, the gradient
`sum over k in D(i) of (exp(s_ik - l_i) + exp(s_ik - l_k)) z_k - 2 * mean over p in P(i) of z_p`, where l are the
logarithms of the sums: whoever knows all z and all l needs nothing else. They are gathered once each, in forward;
backward computes the similarities again, block by block, and talks to nobody. Memory is O(M * block).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sslkit import full_precision, gather_rows, rank, world_size
from sslkit_simclr.row_blocks import RowBlocks
from sslkit_simclr.square_tiles import SMALLEST_TEMPERATURE, SquareTiles

MIN_NORM: Final = 1e-6
"""Shortest length that is still normalised to 1. Source: `tf.math.l2_normalize` of the paper's code, which floors
the squared length at 1e-12; it also bounds the gradient at a zero vector."""


class Rules(NamedTuple):
    """What is compared with what.

    Attributes:
        temperature: Divides the similarities.
        normalise: Similarities are cosines, not dot products.
        other_views: Candidates and positives come from other views than the anchor's.
        decoupled: Positives are no candidates.
    """

    temperature: float
    normalise: bool = True
    other_views: bool = False
    decoupled: bool = False


class _Layout(NamedTuple):
    """Where the local rows lie among those of all ranks: rank after rank, in each view after view.

    Candidates are only summed over, so this is as good as the order of a single process, and local rows lie together.
    """

    rank: int
    num_ranks: int
    num_views: int
    batch_size: int

    @property
    def local(self) -> slice:
        """The local rows among all M."""
        return _part(self.rank, self.num_views * self.batch_size)

    @property
    def local_images(self) -> slice:
        """The local images among all."""
        return _part(self.rank, self.batch_size)


class Contrast(torch.autograd.Function):
    """`Contrast.apply(rules, labels, *projections)`: the loss, and the scaled rows of all ranks for metrics.

    Args:
        rules: What is compared with what.
        labels: int64 [B]; images of one label are each other's positives, -1 has its own views only. None: all have.
        *projections: V tensors [B, P]. Computed in float32 or float64, whatever autocast and matmul precision say.

    Returns:
        The loss of the global batch, and without gradient the rows of all ranks [W, V, B, P], whose dot products are
        the similarities divided by the temperature. The gradient is that of the loss times W, as ranks average theirs.
    """

    @staticmethod
    def forward(ctx: Any, rules: Rules, labels: Tensor | None, *projections: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the rows it was computed from."""
        layout = _Layout(rank(), world_size(), len(projections), len(projections[0]))
        with full_precision(projections[0].device):
            rows, lengths = _scaled(projections, rules)
            columns = gather_rows(rows[None]).flatten(0, 1)
            groups = None if labels is None else _groups(gather_rows(labels[None]).flatten())
            log_sums = _blocks(columns, groups, layout, rules).log_sums()
            positive = _mean_positives(columns, groups, layout, rules).mul_(rows).sum()
            shared = gather_rows(torch.cat((log_sums, positive.view(1)))[None])
            log_sums = shared[:, :-1].flatten()
            loss = (log_sums.sum() - shared[:, -1].sum()) / len(columns)
        ctx.rules, ctx.layout, ctx.dtypes = rules, layout, [part.dtype for part in projections]
        ctx.save_for_backward(columns, lengths, groups, log_sums)
        ctx.set_materialize_grads(False)
        rows_of_all = columns.view(*layout[1:], -1)
        ctx.mark_non_differentiable(rows_of_all)
        return loss, rows_of_all

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        """Return the gradients of the local projections."""
        if of_loss is None:
            return (None,) * (2 + len(ctx.dtypes))
        columns, lengths, groups, log_sums = ctx.saved_tensors
        rules, layout = ctx.rules, ctx.layout
        with full_precision(columns.device):
            gradient = _mean_positives(columns, groups, layout, rules).mul_(-2)
            _blocks(columns, groups, layout, rules).add_gradient(log_sums, gradient)
            gradient.mul_(of_loss * (layout.num_ranks / len(columns)))
            _through_scaling(gradient, columns[layout.local], lengths, rules)
        parts = gradient.chunk(layout.num_views)
        return None, None, *(part.to(dtype) for part, dtype in zip(parts, ctx.dtypes, strict=True))


def _scaled(projections: Sequence[Tensor], rules: Rules) -> tuple[Tensor, Tensor]:
    """Return all views' rows [V * B, P], scaled so that dot products are s_ik, and their lengths before [V * B, 1]."""
    joined = torch.cat(list(projections))
    rows = joined if joined.dtype == torch.float64 else joined.float()
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows.mul_(_scale(lengths, rules)), lengths


def _through_scaling(gradient: Tensor, rows: Tensor, lengths: Tensor, rules: Rules) -> None:
    """Turn the gradient of the scaled rows into that of the projections, in place."""
    if rules.normalise:
        along = (gradient * rows).sum(dim=1, keepdim=True)
        along.masked_fill_(lengths < MIN_NORM, 0.0)  # below the floor, length passes through
        gradient.addcmul_(rows, along, value=-rules.temperature)
    gradient.mul_(_scale(lengths, rules))


def _scale(lengths: Tensor, rules: Rules) -> Tensor:
    root = rules.temperature**0.5
    return 1 / (lengths.clamp(min=MIN_NORM) * root) if rules.normalise else torch.full_like(lengths, 1 / root)


def _blocks(columns: Tensor, groups: Tensor | None, layout: _Layout, rules: Rules) -> SquareTiles | RowBlocks:
    """Return the way to sum over the candidates of all local rows."""
    bounded = rules.normalise and rules.temperature >= SMALLEST_TEMPERATURE
    everyone = not (rules.other_views or rules.decoupled)
    if bounded and everyone and layout.num_ranks == 1 and columns.device.type == "cpu":
        return SquareTiles(columns)
    _, num_ranks, num_views, batch_size = layout
    marks = []
    if rules.other_views:
        views = torch.arange(num_views, device=columns.device)
        marks.append(views.repeat_interleave(batch_size).repeat(num_ranks))
    if rules.decoupled:
        images = torch.arange(num_ranks * batch_size, device=columns.device) if groups is None else groups
        marks.append(images.view(num_ranks, 1, batch_size).expand(-1, num_views, -1).flatten())
    return RowBlocks(columns, layout.local, tuple(marks))


def _groups(labels: Tensor) -> Tensor:
    """Return a number below len(labels) for each image, the same exactly where labels are; -1 has one of its own."""
    own = torch.arange(len(labels), device=labels.device)
    keys = torch.where(labels < 0, -1 - own, labels.long())
    return torch.searchsorted(keys.sort().values, keys)


def _mean_positives(columns: Tensor, groups: Tensor | None, layout: _Layout, rules: Rules) -> Tensor:
    """Return the mean of each local row's positives, [V * B, P]."""
    by_view = columns.view(*layout[1:], -1)

    def in_group(values: Tensor) -> Tensor:
        """Sum values [W * B, P] of images over their groups; return those of the local images."""
        if groups is None:
            return values[layout.local_images]
        return torch.zeros_like(values).index_add_(0, groups, values)[groups[layout.local_images]]

    total = in_group(by_view.sum(dim=1).flatten(0, 1))
    sizes = in_group(columns.new_ones(layout.num_ranks * layout.batch_size, 1))
    if rules.other_views:
        not_positive = torch.stack([in_group(view.flatten(0, 1)) for view in by_view.unbind(1)])
        number = (layout.num_views - 1) * sizes
    else:
        not_positive = columns[layout.local].view(layout.num_views, layout.batch_size, -1)
        number = layout.num_views * sizes - 1
    return (total - not_positive).div_(number).flatten(0, 1)


def _part(number: int, length: int) -> slice:
    return slice(number * length, (number + 1) * length)
