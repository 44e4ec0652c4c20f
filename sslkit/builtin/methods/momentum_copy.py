"""A copy of a network that follows it slowly: the target, teacher or key network of many methods.

Enters: a module; after each step, that module again and a momentum. Leaves: what the copy makes of images, without
gradient. Called by methods, in `embed` and in `after_step`.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class MomentumCopy(nn.Module):
    """An exponential moving average of a module's parameters, which begins as the module is.

    It is saved with the method, and the optimizer never sees it. Only parameters follow: buffers are the copy's own, so
    that its BatchNorm normalises by the batch that it is fed and keeps statistics of its own features.

    Source: He et al. 2020 (MoCo, arXiv:1911.05722), equation 2; Grill et al. 2020 (BYOL, arXiv:2006.07733), equation 1.

    Args:
        module: What to copy.

    Attributes:
        module: The copy.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *arguments: Any) -> Any:
        """Return what the copy returns; nothing in it has a gradient."""
        return self.module(*arguments)

    @torch.no_grad()
    def follow(self, module: nn.Module, momentum: float) -> None:
        """Set every parameter of the copy to `momentum * copy + (1 - momentum) * module`.

        Args:
            module: The one that was copied.
            momentum: Share of the copy's own past, 0 to 1; 1 leaves it as it is.
        """
        mine: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(module.parameters())
        if mine:  # a head may have none
            torch._foreach_lerp_(mine, theirs, 1.0 - momentum)  # one launch for all of them on a device


def rising_momentum(first: float, last: float, fraction: float) -> float:
    """Return a momentum on its way along half a cosine: `last - (last - first) * (cos(pi * fraction) + 1) / 2`.

    Source: Grill et al. 2020 (BYOL), section 3.3; DINO and MoCo v3 have it too.

    Args:
        first: At fraction 0.
        last: At fraction 1.
        fraction: Share of the pretraining that is done, 0 to 1.
    """
    return last - (last - first) * (math.cos(math.pi * fraction) + 1) / 2
