"""An optimizer obeys the rates that the engine writes into its groups, and can be saved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sslkit.engine.trees import flatten, load_optimizer_tree, optimizer_tree, unflatten
from sslkit.testing.subject import Subject

_RATE = 0.01


def lowers_a_quadratic(subject: Subject) -> None:
    """Twenty steps bring a sum of squared distances down."""
    module = _Quadratic()
    optimizer = _optimizer(subject, module)
    before = module().item()
    for _ in range(20):
        _step(optimizer, module)
    after = module().item()
    subject.require(
        after < before,
        "lower a sum of squared distances",
        f"it goes from {before:.6g} to {after:.6g} in 20 steps at a rate of {_RATE}",
        "step against the gradient",
    )


def obeys_the_rate_of_each_group(subject: Subject) -> None:
    """The engine writes `lr` anew in every step: a group with 0 stays, and half the rate is half the first step."""
    moved = {}
    for rate in (_RATE, _RATE / 2):
        module = _Quadratic()
        optimizer = _optimizer(subject, module)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate, 0.0
        before = [parameter.detach().clone() for parameter in module.parameters()]
        _step(optimizer, module)
        moved[rate], still = (
            float((parameter.detach() - old).norm()) for parameter, old in zip(module.parameters(), before, strict=True)
        )
        subject.require(
            still == 0,
            "leave parameters alone whose group has the rate 0",
            f"they move by {still:.3g}",
            'read group["lr"] in step()',
        )
    ratio = moved[_RATE / 2] / max(moved[_RATE], 1e-30)
    subject.require(
        0.4 < ratio < 0.6,
        "go half as far with half the rate",
        f"the first step is {ratio:.2g} times as long",
        'read group["lr"] in step(): schedules change it',
    )


def obeys_the_weight_decay_of_each_group(subject: Subject) -> None:
    """Written into a group after it was made, it shortens the weights of that group and of no other."""
    ends = {}
    for decay in (0.0, 1.0):
        module = _Quadratic()
        optimizer = _optimizer(subject, module)
        optimizer.param_groups[0]["weight_decay"] = decay
        for _ in range(3):
            _step(optimizer, module)
        ends[decay] = [parameter.detach().clone() for parameter in module.parameters()]
    (free, other), (decayed, same) = ends[0.0], ends[1.0]
    subject.require(
        not torch.equal(free, decayed),
        "decay the weights of a group with weight_decay",
        "they are the same with and without",
        'read group["weight_decay"] in step()',
    )
    subject.require(
        torch.equal(other, same),
        "decay the weights of that group only",
        "those of the other group change too",
        'read group["weight_decay"] of each group: norms and biases have 0',
    )


def leaves_out_what_has_no_gradient(subject: Subject) -> None:
    """Methods freeze a part by taking its gradient away."""
    module = _Quadratic()
    optimizer = _optimizer(subject, module)
    module().backward()
    module.bias.grad = None
    before = module.bias.detach().clone()
    optimizer.step()
    subject.require(
        torch.equal(before, module.bias.detach()),
        "leave a parameter alone that has no gradient",
        "it has moved",
        "pass over parameters whose grad is None",
    )


def state_survives_a_checkpoint(subject: Subject) -> None:
    """Saved and loaded as the engine does it, the next steps are the same bit for bit."""
    module, again = _Quadratic(), _Quadratic()
    optimizer, fresh = _optimizer(subject, module), _optimizer(subject, again)
    for _ in range(3):
        _step(optimizer, module)
    tensors, skeleton = flatten(optimizer_tree(optimizer, module))
    again.load_state_dict(module.state_dict())
    load_optimizer_tree(fresh, again, unflatten(skeleton, tensors))
    for _ in range(2):
        _step(optimizer, module)
        _step(fresh, again)
    for (name, one), other in zip(module.named_parameters(), again.parameters(), strict=True):
        subject.require(
            torch.equal(one, other),
            "go on as before once its state is loaded",
            f"{name} differs",
            "keep what steps depend on in self.state[parameter]: tensors and JSON scalars",
        )


class _Quadratic(nn.Module):
    """Squared distances of a matrix and a bias from 3, the same every time; gradients are not along the weights."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, generator=generator))

    def forward(self) -> Tensor:
        return (self.weight - 3).square().sum() + (self.bias - 3).square().sum()


def _optimizer(subject: Subject, module: _Quadratic) -> Any:
    groups = [
        {"name": "weights", "params": [module.weight], "lr": _RATE, "weight_decay": 0.0, "adapt": True},
        {"name": "norms and biases", "params": [module.bias], "lr": _RATE, "weight_decay": 0.0, "adapt": False},
    ]
    return subject.plan().optimizer.build(params=groups)


def _step(optimizer: Any, module: _Quadratic) -> None:
    module().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
