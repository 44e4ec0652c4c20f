"""LARS: momentum whose step in each weight tensor is scaled to the length of that tensor.

Enters: parameter groups with their learning rate and weight decay. Leaves: updated parameters. Called by the
engine, once a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, overload

import torch
from annotated_types import Gt, Interval
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, as the paper's code does it.

    One step, for a tensor w with gradient g:
    `u = g + weight_decay * w`; `trust = trust_coefficient * |w| / |u|`, or 1 where either length is 0;
    `v = momentum * v + lr * trust * u`; `w = w - v`. The learning rate is multiplied in before the momentum (so a
    change of it does not touch steps already in v), and there is no Nesterov momentum.
    In groups with `adapt = False` (batch normalisation, biases) trust is 1: plain momentum.

    Source: You et al. 2017 (arXiv 1708.03888); `lars_optimizer.py` of the paper's code with `classic_momentum`.

    Args:
        params: Parameters, or groups as dicts with `params` and optionally `lr` (0.3, the paper's rate for a batch
            of 256), `weight_decay` (0) and `adapt` (True), here with their values where a group has none.
            The engine sets all three from the recipe.
        momentum: Share of the previous step that is kept.
        trust_coefficient: Length of a step relative to the weights, at a learning rate of 1.
        clip: Let the learning rate limit a step instead of scaling it. Reimplementations have it, the paper's code has
            not; rates of one are no rates of the other.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
        trust_coefficient: Annotated[float, Gt(0)] = 0.001,
        clip: bool = False,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"LARS: momentum must be in [0, 1), not {momentum}")
        if not trust_coefficient > 0:
            raise ValueError(f"LARS: trust_coefficient must be above 0, not {trust_coefficient}")
        defaults = {
            "lr": 0.3,
            "weight_decay": 0.0,
            "adapt": True,
            "momentum": momentum,
            "trust_coefficient": trust_coefficient,
            "clip": clip,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; nothing waits for the device.

        Args:
            closure: Recomputes the loss first, if given.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        gradients = [weight.grad for weight in weights]
        updates = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
        if group["adapt"]:
            trust = _trust(weights, updates, group["trust_coefficient"])
            rates = trust.clamp(max=group["lr"]) if group["clip"] else trust * group["lr"]
            torch._foreach_mul_(updates, list(rates.unbind()))
        else:
            torch._foreach_mul_(updates, group["lr"])
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates)
        torch._foreach_sub_(weights, buffers)


def _trust(weights: list[Tensor], updates: Iterable[Tensor], coefficient: float) -> Tensor:
    """Return the trust ratio of each tensor, [number of tensors]."""
    weight_norms = torch.stack(torch._foreach_norm(weights))
    update_norms = torch.stack(torch._foreach_norm(list(updates)))
    ratio = coefficient * weight_norms / update_norms
    return torch.where((weight_norms > 0) & (update_norms > 0), ratio, torch.ones_like(ratio))
