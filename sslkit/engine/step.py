"""One step: views → method → loss → backward → optimizer.

Enters: a `RawBatch` and the state of a pretraining. Leaves: changed weights, the batch that the method saw, and scalars
still on the device: nothing here waits for it. Called by `pretrain`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.engine.batches import RawBatch
from sslkit.engine.interfaces import Batch, LossOutput, Progress, Schedule, Views
from sslkit.engine.precision import autocast
from sslkit.engine.randomness import step_seed
from sslkit.errors import NonFiniteError, PluginError


class Stage(nn.Module):
    """The part of a method that runs per sample: its `embed`, or its whole `forward`.

    The one module that a distributed wrapper wraps, and the one call that cached gradients repeat.

    Args:
        method: What is pretrained.
    """

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method
        self.embeds = hasattr(method, "embed")

    def forward(self, batch: Batch) -> Any:
        """Return embeddings if the method has `embed`, else its loss."""
        return self.method.embed(batch) if self.embeds else self.method(batch)


@dataclass
class Stepper:
    """Everything that the steps of one pretraining share.

    Attributes:
        method: What is pretrained, on `device`.
        views: The complete view generator.
        optimizer: Its groups hold `lr` and `weight_decay`, set anew in every step.
        base_rates: Per group: the values that schedules multiply.
        schedules: `learning_rate` and `weight_decay`, each a pure function of the progress.
        normalise: Belongs to the backbone; applied to every view.
    """

    method: Any
    views: Views
    optimizer: torch.optim.Optimizer
    base_rates: list[dict[str, float]]
    schedules: dict[str, Schedule]
    normalise: Callable[[Tensor], Tensor] | None
    precision: str
    device: torch.device
    seed: int

    def __post_init__(self) -> None:
        self.stage = Stage(self.method)
        self.parameters = [p for p in self.method.parameters() if p.requires_grad]
        self._checked_gradients = False

    def step(self, raw: RawBatch, progress: Progress) -> tuple[Batch, dict[str, Tensor]]:
        """Do one step.

        Raises:
            NonFiniteError: On a CPU: the loss or a gradient is not finite; the weights are as before. On a device,
                `pretrain` finds it in the metrics some steps later, before anything is saved.
        """
        self.set_rates(progress)
        torch.manual_seed(step_seed(self.seed, progress.step))
        batch = self.make_batch(raw, progress)
        with autocast(self.precision, self.device):
            output = self._loss(batch)
        output.loss.backward()  # type: ignore[no-untyped-call]
        self._check_gradients()
        self._notify("after_backward", progress)
        metrics = {"loss": output.loss, "gradient_norm": self._gradient_norm(), **output.metrics}
        if self.device.type == "cpu":
            require_finite(metrics["loss"].item(), metrics["gradient_norm"].item(), progress.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._notify("after_step", progress)
        return batch, metrics

    def make_batch(self, raw: RawBatch, progress: Progress) -> Batch:
        """Finish the views on the device."""
        views = self.views.apply(raw.groups, raw.draws)
        if self.normalise is not None:
            views = [self.normalise(view) for view in views]
        views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        return Batch(views, raw.indices, raw.labels, progress)

    def set_rates(self, progress: Progress) -> None:
        """Write this step's rates into the optimizer's groups."""
        factors = {name: schedule(progress) for name, schedule in self.schedules.items()}
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base["learning_rate"] * factors.get("learning_rate", 1.0)
            group["weight_decay"] = base["weight_decay"] * factors.get("weight_decay", 1.0)

    def _loss(self, batch: Batch) -> LossOutput:
        returned = self.stage(batch)
        loss = self.method.loss(returned, batch) if self.stage.embeds else returned
        return LossOutput(*loss) if isinstance(loss, tuple) else LossOutput(loss, {})

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        return norm

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


def require_finite(loss: float, gradient_norm: float, step: int) -> None:
    """Refuse a loss or gradient that is not a finite number.

    Raises:
        NonFiniteError: Names which and where.
    """
    for name, value in (("loss", loss), ("gradient norm", gradient_norm)):
        if not abs(value) < float("inf"):
            raise NonFiniteError(
                f"step {step}: the {name} is {value}; a lower learning rate or a longer warm-up is the usual cure; "
                "checkpoints hold only finite weights"
            )
