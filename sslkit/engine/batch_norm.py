"""BatchNorm whose statistics are those of the global batch, on any device and backend.

torch's own refuses CPUs and waits for the device in every layer. Enters: a module before it is trained by several
processes; or, for cached gradients, one whose running statistics are to move once a step. Leaves: the same module.
Called by `assemble` and `cached_gradients`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from sslkit.engine.distributed import all_gathered, world_size


def across_ranks(module: nn.Module, *, but: nn.Module | None = None) -> None:
    """Let every BatchNorm in a module take its statistics over the batch of all ranks while it trains.

    Modules that derive from torch's, such as timm's with an activation, stay what they are but for those statistics;
    names, parameters and buffers do not change. Every rank has to run the layer with as many rows.

    Args:
        module: Whose layers are meant.
        but: A part of it that sees the rows of all ranks anyway.
    """
    spared = set() if but is None else set(but.modules())
    for part in _batch_norms(module):
        if part not in spared and not isinstance(part, _AcrossRanks):
            kind: Any = type(part)
            part.__class__ = _class_across_ranks(kind)


class _AcrossRanks:
    """In front of a BatchNorm class: what its forward does with `torch.nn.functional.batch_norm` is done globally."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        with _GlobalBatchNorm():
            return super().forward(*arguments, **named)  # type: ignore[misc]


@cache
def _class_across_ranks(base: Any) -> Any:
    return type(base.__name__, (_AcrossRanks, base), {})


class _GlobalBatchNorm(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    rows: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what `torch.nn.functional.batch_norm` does, with the statistics of all ranks."""
    if not training or world_size() == 1:
        return F.batch_norm(rows, running_mean, running_var, weight, bias, training, momentum, eps)
    output, mean, var = _Normalise.apply(rows, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        count = world_size() * rows.numel() // rows.shape[1]
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(var.to(running_var.dtype) * (count / (count - 1)), momentum)
    normalised: Tensor = output
    return normalised


class _Normalise(torch.autograd.Function):
    """One collective forward, one backward. Source: Ioffe and Szegedy 2015, algorithm 1 and section 3."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = _global_moments(rows)
        ctx.save_for_backward(rows, weight, mean, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(rows, mean, var, weight, bias, training=False, eps=eps), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, mean, var = ctx.saved_tensors
        gradient = gradients[0]
        inverse = (var + ctx.eps).rsqrt()
        scale = torch.ones_like(mean) if weight is None else weight
        # The fused kernel of a frozen BatchNorm has the two sums that are needed: of the gradient times the normalised
        # rows (the gradient of the scale), and of the gradient (that of the shift). CUDA's insists on all arguments.
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            gradient, rows, scale, mean, var, mean, inverse, False, ctx.eps, [False, True, True]
        )
        gradient_of_rows = None
        if ctx.needs_input_grad[0]:
            total = torch.stack([products, sums])
            dist.all_reduce(total)
            count = world_size() * rows.numel() // rows.shape[1]
            scale = inverse * scale
            slope = -scale * inverse * total[0] / count
            offset = -scale * total[1] / count
            shape = (1, -1, *([1] * (rows.ndim - 2)))
            mean, scale, slope, offset = (part.view(shape) for part in (mean, scale, slope, offset))
            # Rounded once, at the end: in half precision the coefficients would be wrong for a channel as a whole.
            gradient_of_rows = (rows - mean).mul_(slope).add_(offset).addcmul_(gradient, scale).to(rows.dtype)
        return (
            gradient_of_rows,
            products if ctx.needs_input_grad[1] else None,
            sums if ctx.needs_input_grad[2] else None,
            None,
        )


def _global_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel over all ranks, at least float32."""
    if rows.dtype in (torch.bfloat16, torch.float16) and not rows.is_cuda:
        rows = rows.float()  # on CUDA the kernel itself sums in float32
    own = torch.stack(torch.batch_norm_update_stats(rows, None, None, 0.0))
    means, variances = all_gathered(own).unbind(1)
    # Every rank has as many rows. Means and variances, not sums of squares: those cancel.
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


class _Moments(NamedTuple):
    mean: Tensor
    var: Tensor
    num_rows: int


class RunningStatistics:
    """Moves the running statistics of BatchNorm once a step, although the batch comes in micro-batches.

    What they move towards is the mean and variance over all micro-batches: in a first layer exactly those of the whole
    batch.

    Args:
        module: Whose BatchNorm layers are meant.
    """

    def __init__(self, module: nn.Module) -> None:
        self._norms: list[Any] = [norm for norm in _batch_norms(module) if norm.running_mean is not None]
        self.used = False

    @contextmanager
    def moved_once(self, num_passes: int) -> Iterator[None]:
        """Run the forward passes of all micro-batches inside the block.

        Args:
            num_passes: Of them; a layer may run several times in each.
        """
        before = [(norm, norm.momentum, [buffer.clone() for buffer in _buffers(norm)]) for norm in self._norms]
        seen: dict[nn.Module, list[_Moments]] = {norm: [] for norm in self._norms}

        def note(norm: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
            if norm.training:
                count = world_size() * inputs[0].numel() // inputs[0].shape[1]
                seen[norm].append(_Moments(norm.running_mean.clone(), norm.running_var.clone(), count))

        handles = [norm.register_forward_hook(note) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 1.0  # then the running statistics are the batch's own
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for norm, momentum, values in before:
                norm.momentum = momentum
                for buffer, value in zip(_buffers(norm), values, strict=True):
                    buffer.copy_(value)
        self.used = any(seen.values())
        for norm in self._norms:
            calls = len(seen[norm]) // num_passes
            for call in range(calls):
                _move(norm, seen[norm][call::calls])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Leave the running statistics alone inside the block; the layers train as ever."""
        tracked = [(norm, norm.track_running_stats) for norm in self._norms]
        for norm in self._norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm, flag in tracked:
                norm.track_running_stats = flag


def _move(norm: Any, parts: Sequence[_Moments]) -> None:
    """Move a layer's running statistics towards those of equally large parts of a batch."""
    mean, var, tracked = _buffers(norm)
    tracked.add_(1)
    momentum = 1 / float(tracked) if norm.momentum is None else norm.momentum
    count = parts[0].num_rows
    means = torch.stack([part.mean for part in parts])
    biased = torch.stack([part.var for part in parts]) * ((count - 1) / count)
    total = count * len(parts)
    mean.lerp_(means.mean(0), momentum)
    var.lerp_((biased.mean(0) + means.var(0, correction=0)) * (total / (total - 1)), momentum)


def _buffers(norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]
