"""Gradient descent."""

from typing import Annotated

import torch
from annotated_types import Interval


def descent(params, *, momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9):
    """Return torch's.

    Args:
        params: Two groups; the engine gives them.
        momentum: Share of the former step.
    """
    return torch.optim.SGD(params, lr=1.0, momentum=momentum)
