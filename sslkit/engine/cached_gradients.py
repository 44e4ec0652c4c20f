"""The gradient of a whole batch from forward passes of micro-batches: large batches in the memory of small ones.

Embed every micro-batch without a graph; head and loss on everything, which gives the gradient of each embedding; embed
again, with a graph, and send those gradients back. Plain accumulation would leave a contrastive loss with the negatives
of one micro-batch. Source: Gao et al. 2021, arXiv:2101.06983 (GradCache), section 3.2. Enters: the stage of a step and
its micro-batches. Leaves: gradients on the parameters, and the loss. Called by `step`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, overload

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from sslkit.engine.batch_norm import RunningStatistics
from sslkit.engine.contract import described, loss_of
from sslkit.engine.distributed import world_size
from sslkit.engine.interfaces import Batch, LossOutput
from sslkit.errors import PluginError

_TOLERANCE: Final = {torch.float64: 1e-9, torch.float32: 1e-3}
_TOLERANCE_HALF: Final = 0.05
"""How far the passes may differ, relative to the largest embedding: kernels may choose another order of summation."""

LOSS: Final = -1
"""In place of a micro-batch's number, where torch is seeded for the loss."""

logger = logging.getLogger("sslkit")


class CachedGradients:
    """Does forward and backward of one step in micro-batches.

    Args:
        stage: Embeds a batch; perhaps wrapped by DDP, which then averages gradients once a step.
        method: Has `loss(embeddings, batch)`.
        precise: Makes the context of a forward pass: autocast, or nothing.
    """

    def __init__(self, stage: nn.Module, method: Any, precise: Callable[[], AbstractContextManager[object]]) -> None:
        self._stage = stage
        self._plain = stage.module if isinstance(stage, DistributedDataParallel) else stage
        self._method = method
        self._precise = precise
        self._statistics = RunningStatistics(method)
        self._checked = False
        self._have_gradient: list[bool] | None = None  # which of the embeddings: a teacher's do not

    def backward(
        self,
        micro_batch: Callable[[int], Batch],
        count: int,
        whole: Batch,
        seed: Callable[[int], None],
    ) -> LossOutput:
        """Put the whole batch's gradient on the parameters.

        Args:
            micro_batch: Makes the n-th micro-batch, the same whenever it is asked.
            count: Of micro-batches.
            whole: The whole batch, for the loss.
            seed: Seeds torch for a forward pass; called with the micro-batch's number, and with `LOSS` for the loss.

        Returns:
            Loss and metrics of the whole batch.
        """
        first, spec = self._embed_all(micro_batch, count, seed)
        leaves = [torch.cat(parts) for parts in zip(*first, strict=True)]
        for leaf, has_gradient in zip(leaves, self._have_gradient or (), strict=True):
            leaf.requires_grad_(has_gradient)
        seed(LOSS)
        with self._precise():
            output = loss_of(self._method, self._method.loss(tree_unflatten(leaves, spec), whole))
        with self._unreduced():
            output.loss.backward()  # type: ignore[no-untyped-call]
        lengths = [len(tensors[0]) for tensors in first]
        cached = [None if leaf.grad is None else torch.split(leaf.grad, lengths) for leaf in leaves]
        del leaves
        differences: list[tuple[float, float]] = []
        with self._statistics.kept():
            for number in range(count):
                is_last = number == count - 1
                batch = micro_batch(number)
                seed(number)
                with nullcontext() if is_last else self._unreduced():
                    with self._precise():
                        second = tree_flatten(self._stage(batch))[0]
                    if not self._checked:
                        differences += _differences(first[number], second)
                    gradients = [None if parts is None else parts[number] for parts in cached]
                    self._send_back(second, gradients, is_last=is_last)
        if not self._checked:
            self._check(differences, count)
        return LossOutput(output.loss.detach(), output.metrics)

    def _embed_all(
        self, micro_batch: Callable[[int], Batch], count: int, seed: Callable[[int], None]
    ) -> tuple[list[list[Tensor]], TreeSpec]:
        found = []
        with self._statistics.moved_once(count):
            for number in range(count):
                batch = micro_batch(number)
                seed(number)
                with torch.set_grad_enabled(self._have_gradient is None), self._precise():
                    tensors, spec = tree_flatten(self._plain(batch))
                self._require_rows(tensors, len(batch))
                if self._have_gradient is None:  # the very first one is embedded with a graph, to see
                    self._have_gradient = [tensor.requires_grad for tensor in tensors]
                found.append([tensor.detach() for tensor in tensors])
        return found, spec

    def _require_rows(self, tensors: Sequence[Any], size: int) -> None:
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.ndim == 0 or len(tensor) != size:
                raise PluginError(
                    f"{type(self._method).__name__}.embed should return tensors with a row for each of the {size} "
                    f"images of a micro-batch, [{size}, ...], but one is {described(tensor)}; return one for each "
                    "view: embeddings.chunk(len(batch.views))"
                )

    def _send_back(self, embeddings: Sequence[Tensor], gradients: Sequence[Tensor | None], *, is_last: bool) -> None:
        pairs = [
            (embedding, gradient)
            for embedding, gradient in zip(embeddings, gradients, strict=True)
            if gradient is not None and embedding.requires_grad
        ]
        if not pairs:
            raise PluginError(f"{type(self._method).__name__}.loss does not depend on what embed returns")
        if is_last and world_size() > 1:
            # DDP averages what its own backward pass reaches; the loss's own parameters have their gradient already.
            tie = sum((p if p.ndim == 0 else p[:0]).sum() * 0 for p in self._plain.parameters() if p.grad is not None)
            if isinstance(tie, Tensor):
                pairs.append((tie, torch.ones_like(tie)))
        tensors, cotangents = zip(*pairs, strict=True)
        torch.autograd.backward(tensors, cotangents)

    def _unreduced(self) -> AbstractContextManager[object]:
        return self._stage.no_sync() if isinstance(self._stage, DistributedDataParallel) else nullcontext()

    def _check(self, differences: Sequence[tuple[float, float]], count: int) -> None:
        """In the first step, hold the second pass against the first, and say what is exact."""
        self._checked = True
        largest = max(difference for difference, _ in differences)
        if any(difference > allowed for difference, allowed in differences):  # nan is none: the step will say so
            raise PluginError(
                f"{type(self._method).__name__}.embed returns something else when it is called again (relative "
                f"difference {largest:.2g}): cached gradients need an embed that can be repeated; let it change "
                "nothing, draw from torch's generator only, or leave pretrain.micro_batch_size out"
            )
        caveat = ""
        if self._statistics.used:
            caveat = ", but the backbone's BatchNorm takes its statistics over each micro-batch, as on several devices"
        logger.log(
            logging.WARNING if caveat else logging.INFO,
            "cached gradients: %d micro-batches, embedded again to a relative difference of %.1g; loss and gradient "
            "are those of the whole batch%s",
            count,
            largest,
            caveat,
        )


def _differences(first: Sequence[Tensor], second: Sequence[Tensor]) -> Iterator[tuple[float, float]]:
    """Yield the difference of each pair, relative to its largest value, and what it may be."""
    for one, other in zip(first, second, strict=True):
        if one.is_floating_point():
            difference = (one - other.detach()).abs().max() / one.abs().max().clamp(min=1e-30)
            yield float(difference), _TOLERANCE.get(one.dtype, _TOLERANCE_HALF)
        else:
            yield float((one != other).any()), 0.0


class LazyViews(Sequence[Tensor]):
    """The views of a whole batch, made when somebody looks at them: the memory is theirs then.

    Args:
        make: Makes all views.
        num_views: How many.
    """

    def __init__(self, make: Callable[[], list[Tensor]], num_views: int) -> None:
        self._make = make
        self._num_views = num_views
        self._made: list[Tensor] | None = None

    def __len__(self) -> int:
        return self._num_views

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> list[Tensor]: ...

    def __getitem__(self, place: int | slice) -> Tensor | list[Tensor]:
        if self._made is None:
            self._made = self._make()
        return self._made[place]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self[:])
