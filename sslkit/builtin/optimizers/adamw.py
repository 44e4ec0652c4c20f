"""Adam with decoupled weight decay.

Enters: the engine's parameter groups and the recipe's options. Leaves: a torch optimizer. Called by the engine
once, when the run is built; the learning rate of a group is set, as a Python float, before each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from annotated_types import Gt, Interval

Beta = Annotated[float, Interval(ge=0, lt=1)]


def adamw(
    params: Iterable[Mapping[str, Any]],
    *,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
) -> torch.optim.Optimizer:
    """Return torch's AdamW on the engine's groups.

    The decay of a step is the group's weight decay times its learning rate.
    Source: Loshchilov and Hutter 2019 (Decoupled Weight Decay Regularization), algorithm 2, in torch's form.

    Args:
        params: Groups with `params`, `lr` and `weight_decay`; other keys stay in the groups untouched.
        betas: Decay of the running means of gradient and squared gradient.
        eps: Added to the root of the mean squared gradient.
    """
    return torch.optim.AdamW([dict(group) for group in params], betas=betas, eps=eps, foreach=True)
