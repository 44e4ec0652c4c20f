"""How images are fitted to a frozen backbone: scaled by the shorter side, the centre kept.

Enters: images of any size. Leaves: uint8 squares. Called by `features`, so that evaluation and `embed` see the same.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sslkit.engine.prepared_views import as_uint8

CENTRAL_SHARE: Final = 0.875
"""The paper's test crop: 224 of 256 pixels of the shorter side (Chen et al. 2020, B.6, and its code)."""

_UNCROPPED_UP_TO: Final = 32  # pixels; the paper's code leaves CIFAR-sized test images untouched


def fit_image(image: Any, size: int, share: float = CENTRAL_SHARE) -> Tensor:
    """Return an image as uint8 [C, size, size]: shorter side scaled, centre cropped.

    Where the square is at most 32 pixels wide, nothing of the shorter side is cropped.

    Args:
        image: PIL or uint8 [C, H, W].
        size: Side in pixels.
        share: Of the shorter side that is kept.
    """
    side = scaled_side(size, share)
    if isinstance(image, Image.Image):
        scale = side / min(image.size)
        width, height = (max(side, round(edge * scale)) for edge in image.size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        return as_uint8(image.crop((left, top, left + size, top + size)))
    return fit_tensors(as_uint8(image).unsqueeze(0), size, share)[0]


def fit_tensors(images: Tensor, size: int, share: float = CENTRAL_SHARE) -> Tensor:
    """Return uint8 images [N, C, H, W] as [N, C, size, size], by the rule of `fit_image`."""
    height, width = images.shape[2:]
    side = scaled_side(size, share)
    if height == width == size == side:
        return images
    scale = side / min(height, width)
    target = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = images
    if target != (height, width):
        scaled = functional.interpolate(images.float(), target, mode="bicubic", antialias=True)
        resized = scaled.round().clamp(0, 255).to(torch.uint8)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return resized[:, :, top : top + size, left : left + size]


def scaled_side(size: int, share: float = CENTRAL_SHARE) -> int:
    """Return to how many pixels an image's shorter side is scaled before its centre of `size` pixels is cut out."""
    return size if size <= _UNCROPPED_UP_TO else round(size / share)
