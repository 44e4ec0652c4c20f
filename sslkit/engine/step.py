"""One step: views → method → loss → backward → optimizer.

Enters: a `RawBatch` and the state of a pretraining. Leaves: changed weights, the batch that the method saw, and scalars
still on the device: nothing here waits for it. Called by `pretrain`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sslkit.engine.batches import RawBatch
from sslkit.engine.cached_gradients import LOSS, CachedGradients, LazyViews
from sslkit.engine.contract import loss_of
from sslkit.engine.distributed import rank, sum_over_ranks, world_size
from sslkit.engine.interfaces import Batch, LossOutput, Progress, Schedule, Views, embeds
from sslkit.engine.precision import autocast
from sslkit.engine.randomness import step_seed
from sslkit.errors import NonFiniteError, PluginError
from sslkit.faults import fault, value


class Stage(nn.Module):
    """The part of a method that runs per sample: its `embed`, or its whole `forward`.

    The one module that DDP wraps, and the one call that cached gradients repeat.

    Args:
        method: What is pretrained.
    """

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> Any:
        """Return embeddings if the method has `embed` and `loss`, else its loss."""
        return self.method.embed(batch) if embeds(self.method) else self.method(batch)


class BaseRates(NamedTuple):
    """What schedules multiply in a group of the optimizer.

    Attributes:
        learning_rate: The peak.
        weight_decay: Of a step.
        is_constant: Whether the learning rate stays what it is here.
    """

    learning_rate: float
    weight_decay: float
    is_constant: bool = False


@dataclass
class Stepper:
    """Everything that the steps of one pretraining share.

    Attributes:
        method: What is pretrained, on `device`.
        views: The complete view generator.
        optimizer: Its groups hold `lr` and `weight_decay`, set anew in every step.
        base_rates: One per group.
        schedules: `learning_rate` and `weight_decay`, each a pure function of the progress.
        normalise: Belongs to the backbone; applied to every view.
        micro_batch_size: Images of this rank that are embedded at once; None embeds the whole batch.
        infinite: Names of buffers that are not finite from the start, such as a mask of -inf: by design, that is.
    """

    method: Any
    views: Views
    optimizer: torch.optim.Optimizer
    base_rates: list[BaseRates]
    schedules: dict[str, Schedule]
    normalise: Callable[[Tensor], Tensor] | None
    precision: str
    device: torch.device
    seed: int
    micro_batch_size: int | None = None

    def __post_init__(self) -> None:
        self.stage: nn.Module = Stage(self.method)
        self.parameters = [p for p in self.method.parameters() if p.requires_grad]
        if world_size() > 1:
            self.stage = _averaging_gradients(self.stage)
        self._cached = CachedGradients(self.stage, self.method, self._precise) if self.micro_batch_size else None
        self._checked_gradients = False
        buffers = dict(self.method.named_buffers())
        self.infinite = frozenset(name for name, buffer in buffers.items() if not torch.isfinite(buffer).all())
        kept = [buffer for name, buffer in buffers.items() if name not in self.infinite]
        self._state = [t for t in (*self.method.parameters(), *kept) if t.is_floating_point() and t.numel()]
        self._is_on_host = self.device.type == "cpu"  # then reading a number waits for nobody

    def step(self, raw: RawBatch, progress: Progress) -> tuple[Batch, dict[str, Tensor]]:
        """Do one step.

        Raises:
            NonFiniteError: On a CPU: the loss or a gradient is not finite; the weights are as before. On a device the
                gradient is withheld, and `pretrain` finds it in the metrics some steps later, before anything is saved.
        """
        done = progress.step + 1
        fault("step.start", step=done)
        self.set_rates(progress)
        batch, output = self._backward(raw, progress)
        self._check_gradients()
        self._notify("after_backward", progress)
        metrics = mean_over_ranks({"loss": value("step.loss", output.loss, step=done), **output.metrics})
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        metrics["gradient_norm"] = value("step.gradient", _norm(gradients), step=done)
        self._guard(metrics, done)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._notify("after_step", progress)
        # A rate that is far too high may show here alone: behind BatchNorm, loss and gradient stay finite for long.
        metrics["weight_norm"] = _norm(self._state)
        if self._is_on_host:
            require_finite(metrics, done)
        return batch, metrics

    def _backward(self, raw: RawBatch, progress: Progress) -> tuple[Batch, LossOutput]:
        """Put the gradient of the global batch on the parameters; average it over ranks."""
        if self._cached is not None:
            return self._backward_in_micro_batches(self._cached, raw, progress)
        batch = self.make_batch(raw, progress)
        self._seed(progress)
        with self._precise():
            returned = self.stage(batch)
            if embeds(self.method):
                self._seed(progress, LOSS)
                returned = self.method.loss(returned, batch)
            output = loss_of(self.method, returned)
        output.loss.backward()  # type: ignore[no-untyped-call]
        return batch, output

    def _backward_in_micro_batches(
        self, cached: CachedGradients, raw: RawBatch, progress: Progress
    ) -> tuple[Batch, LossOutput]:
        size = self.micro_batch_size or len(raw.indices)
        views = LazyViews(lambda: self._views(raw), self.views.num_views)
        whole = Batch(views, raw.indices, raw.labels, progress, self.seed)
        output = cached.backward(
            lambda number: self.make_batch(raw.part(slice(number * size, (number + 1) * size)), progress),
            len(raw.indices) // size,
            whole,
            lambda number: self._seed(progress, number),
        )
        return whole, output

    def make_batch(self, raw: RawBatch, progress: Progress) -> Batch:
        """Finish the views on the device."""
        return Batch(self._views(raw), raw.indices, raw.labels, progress, self.seed)

    def _views(self, raw: RawBatch) -> list[Tensor]:
        with torch.autocast(self.device.type, enabled=False):  # pixels are no matter of precision
            views = self.views.apply(raw.groups, raw.draws)
        if self.normalise is not None:
            views = [self.normalise(view) for view in views]
        return [view.contiguous(memory_format=torch.channels_last) for view in views]

    def set_rates(self, progress: Progress) -> None:
        """Write this step's rates into the optimizer's groups."""
        factors = {name: schedule(progress) for name, schedule in self.schedules.items()}
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base.learning_rate * (1.0 if base.is_constant else factors.get("learning_rate", 1.0))
            group["weight_decay"] = base.weight_decay * factors.get("weight_decay", 1.0)

    def _precise(self) -> AbstractContextManager[object]:
        return autocast(self.precision, self.device)

    def _seed(self, progress: Progress, micro_batch: int = 0) -> None:
        # The loss is that of the global batch: whatever it draws has to be the same on all ranks.
        torch.manual_seed(step_seed(self.seed, progress.step, 0 if micro_batch == LOSS else rank(), micro_batch))

    def _guard(self, metrics: Mapping[str, Tensor], step: int) -> None:
        """Keep what is not finite from the weights: stop; on a device, where to know is to wait, zero the gradient."""
        if self._is_on_host:
            require_finite(metrics, step)
            return
        broken = ~(torch.isfinite(metrics["loss"]) & torch.isfinite(metrics["gradient_norm"]))
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(broken, 0.0)

    def _check_gradients(self) -> None:
        """After the first backward, name parameters that got no gradient: they would never learn."""
        if self._checked_gradients:
            return
        self._checked_gradients = True
        missing = [n for n, p in self.method.named_parameters() if p.requires_grad and p.grad is None]
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise PluginError(
                f"{len(missing)} parameters of {type(self.method).__name__} get no gradient: {shown}; leave them out "
                "of the module or set requires_grad = False"
            )

    def _notify(self, hook: str, progress: Progress) -> None:
        function = getattr(self.method, hook, None)
        if function is not None:
            function(progress)


def require_finite(metrics: Mapping[str, Tensor | float], step: int) -> None:
    """Refuse a loss, gradient or weight that is not a finite number.

    Raises:
        NonFiniteError: Names which and where.
    """
    for key, name in (("loss", "loss"), ("gradient_norm", "gradient norm"), ("weight_norm", "norm of all weights")):
        number = float(metrics.get(key, 0.0))
        if not abs(number) < float("inf"):
            raise NonFiniteError(
                f"step {step}: the {name} is {number}; a lower learning rate or a longer warm-up, in a new run, is "
                "the usual cure; checkpoints hold only finite weights"
            )


@torch.no_grad()
def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def _averaging_gradients(stage: nn.Module) -> DistributedDataParallel:
    # BatchNorm's statistics are global already: buffers are equal without being sent. torch 2.14 renamed the argument.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(stage, gradient_as_bucket_view=True, **options)


def mean_over_ranks(scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over all ranks of each scalar, detached, in one collective; a NaN anywhere is one everywhere."""
    if world_size() == 1:
        return {name: scalar.detach() for name, scalar in scalars.items()}
    joined = torch.stack([scalar.detach().double().reshape(()) for scalar in scalars.values()])
    return dict(zip(scalars, (sum_over_ranks(joined) / world_size()).unbind(), strict=True))
