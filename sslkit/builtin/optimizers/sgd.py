"""Stochastic gradient descent with momentum.

Enters: the engine's parameter groups and the recipe's options. Leaves: a torch optimizer. Called by the engine
once, when the run is built; the learning rate of a group is set, as a Python float, before each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Interval

from sslkit import SslkitError


def sgd(
    params: Iterable[Mapping[str, Any]],
    *,
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """Return torch's SGD on the engine's groups.

    Args:
        params: Groups with `params`, `lr` and `weight_decay`; other keys stay in the groups untouched.
        momentum: Share of the last update that the next one keeps.
        nesterov: Look ahead along the momentum.

    Raises:
        SslkitError: If Nesterov's look-ahead is asked for without a momentum.
    """
    if nesterov and momentum == 0:
        raise SslkitError("builtin.sgd: nesterov looks ahead along the momentum, which is 0; set momentum = 0.9")
    # foreach: a handful of kernels for all parameters instead of several for each.
    return torch.optim.SGD([dict(group) for group in params], momentum=momentum, nesterov=nesterov, foreach=True)
