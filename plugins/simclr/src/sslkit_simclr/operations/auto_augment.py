"""AutoAugment, as torchvision has it, with its random choices taken from a view's own numbers.

Enters: a crop, uint8 [C, S, S]. Leaves: the crop changed. Called by `two_crops` in a loader's worker.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchvision.transforms import AutoAugment as TorchvisionAutoAugment
from torchvision.transforms import AutoAugmentPolicy

from sslkit import DataError, seeded


class AutoAugment:
    """One of the 25 sub-policies that were found for a set, drawn for every view.

    Source: Cubuk et al. 2019, arXiv:1805.09501; SimCLR, table 1.

    Args:
        policy: The set.

    Attributes:
        policy: As above.
    """

    def __init__(self, policy: Literal["imagenet", "cifar10", "svhn"]) -> None:
        self.policy = policy
        self._augment = TorchvisionAutoAugment(AutoAugmentPolicy(policy))

    def __call__(self, crop: Tensor, draws: npt.NDArray[np.float32]) -> Tensor:
        """Return a crop changed, uint8 [C, S, S], from two uniform numbers of 24 bits."""
        if len(crop) not in (1, 3):
            raise DataError(f'simclr.two_crops: images have {len(crop)} channels; set auto_augment = "none"')
        first, second = (int(number) for number in draws.astype(np.float64) * 2**24)
        with seeded(first << 24 | second):
            changed: Tensor = self._augment(crop)
        return changed
