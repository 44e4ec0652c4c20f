"""Mirroring.

Enters: images of any type, and which of them to mirror. Leaves: images. Called by `two_crops` on crops that the
loader's workers made; crops made on the device are mirrored in the resampling (`crop`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Return the images, those marked mirrored left to right.

    Args:
        images: [N, C, H, W].
        flipped: bool [N].
    """
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
