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

# The paper's test crop: the central 87.5 %, which is 224 of 256 pixels (Chen et al. 2020, B.6, and its code).
_CENTRAL_SHARE: Final = 0.875
_UNCROPPED_UP_TO: Final = 32  # pixels; the paper's code leaves CIFAR-sized test images untouched


def fit_image(image: Any, size: int) -> Tensor:
    """Return an image as uint8 [C, size, size]: shorter side scaled, centre cropped.

    Above 32 pixels the central 87.5 % is kept; smaller images are kept whole.

    Args:
        image: PIL or uint8 [C, H, W].
        size: Side in pixels.
    """
    side = size if size <= _UNCROPPED_UP_TO else round(size / _CENTRAL_SHARE)
    if isinstance(image, Image.Image):
        scale = side / min(image.size)
        width, height = (max(side, round(edge * scale)) for edge in image.size)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        return as_uint8(image.crop((left, top, left + size, top + size)))
    return fit_tensors(as_uint8(image).unsqueeze(0), size)[0]


def fit_tensors(images: Tensor, size: int) -> Tensor:
    """Return uint8 images [N, C, H, W] as [N, C, size, size], by the rule of `fit_image`."""
    height, width = images.shape[2:]
    if height == width == size and size <= _UNCROPPED_UP_TO:
        return images
    side = size if size <= _UNCROPPED_UP_TO else round(size / _CENTRAL_SHARE)
    scale = side / min(height, width)
    target = (max(side, round(height * scale)), max(side, round(width * scale)))
    resized = images
    if target != (height, width):
        scaled = functional.interpolate(images.float(), target, mode="bicubic", antialias=True)
        resized = scaled.round().clamp(0, 255).to(torch.uint8)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return resized[:, :, top : top + size, left : left + size]
