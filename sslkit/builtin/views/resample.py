"""Resampling of a crop to the size of a view: antialiased, bicubic or bilinear.

Enters: an image and a box in a loader's worker, or a batch and its boxes on the device. Leaves: crops. Called by the
view generators.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from sslkit.builtin.views.crop import Boxes

Interpolation = Literal["bicubic", "bilinear"]


def as_tensor(image: Any) -> Tensor:
    """Return a PIL image or uint8 [C, H, W] as uint8 [C, H, W], to be read only."""
    if isinstance(image, Tensor):
        return image
    pixels = from_dlpack(np.asarray(image))  # which, unlike from_numpy, takes memory that cannot be written to
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def crops_of(image: Any, boxes: Boxes, size: int, interpolation: Interpolation) -> Tensor:
    """Return the boxes of one image as uint8 [V, C, size, size].

    torch resamples uint8 directly, along one axis after the other and rounding after each, as Pillow does: at most two
    grey levels apart from it, and three times as fast.

    Args:
        image: PIL, or uint8 [C, H, W].
        boxes: Arrays [V].
        size: Side of a crop, pixels.
        interpolation: Of the kernel.
    """
    crops = []
    for top, left, height, width in zip(*(map(int, edges.tolist()) for edges in boxes), strict=True):
        if isinstance(image, Tensor):
            piece = image[:, top : top + height, left : left + width]
        else:  # cut first: then only what is needed has to leave Pillow's memory
            piece = as_tensor(image.crop((left, top, left + width, top + height)))
        crops.append(F.interpolate(piece.unsqueeze(0), (size, size), mode=interpolation, antialias=True))
    return torch.cat(crops)


def crop_and_resize(
    images: Tensor, boxes: Boxes, size: int, flipped: Tensor, interpolation: Interpolation = "bicubic"
) -> Tensor:
    """Return each image's box resampled to size x size, antialiased, in [0, 1].

    Resampling along an axis is linear, so it is a product with a matrix [size, pixels] made for each box; mirroring
    is another order of its rows. As in `torch.nn.functional.interpolate(..., antialias=True)` of the slice, pixels
    outside the box have no influence.

    Args:
        images: uint8 [N, C, H, W], or float32 in [0, 1].
        boxes: Tensors [N].
        size: Side of a crop, pixels.
        flipped: bool [N], which crops to mirror left to right.
        interpolation: Of the kernel.

    Returns:
        float32 [N, C, size, size].
    """
    num_images, channels, height, width = images.shape
    kernel, reach = _KERNELS[interpolation]
    rows = _resampling(boxes.top, boxes.height, torch.zeros_like(flipped), size, height, kernel, reach)
    columns = _resampling(boxes.left, boxes.width, flipped, size, width, kernel, reach)
    if not images.is_floating_point():
        rows = rows / 255
    pixels = images.float().reshape(num_images, channels * height, width)
    along = torch.bmm(pixels, columns.transpose(1, 2)).view(num_images, channels, height, size)
    return torch.matmul(rows.unsqueeze(1), along).clamp_(0, 1)


def _resampling(
    start: Tensor,
    length: Tensor,
    reverse: Tensor,
    size: int,
    num_pixels: int,
    kernel: Callable[[Tensor], Tensor],
    reach: int,
) -> Tensor:
    """Return the matrices [N, size, num_pixels] that resample `length` pixels from `start` to `size`."""
    start, length = start.view(-1, 1), length.view(-1, 1)
    output = torch.arange(size, dtype=torch.float64, device=start.device)
    output = torch.where(reverse.view(-1, 1), size - 1 - output, output)
    centre = start + length / size * (output + 0.5)
    stretch = (length / size).clamp(min=1)  # antialiasing: the kernel is stretched when the image shrinks
    # Of each row only the pixels under the kernel are computed, as many for every row so that shapes are fixed.
    num_taps = min(2 * ceil(reach * max(num_pixels / size, 1)) + 1, num_pixels)
    first = (centre - reach * stretch).floor().clamp(0, num_pixels - num_taps)
    offset, stretch = (first + 0.5 - centre).float().unsqueeze(-1), stretch.float().unsqueeze(-1)
    taps = torch.arange(num_taps, device=start.device)
    weights = kernel((taps + offset) / stretch)
    place = first.long().unsqueeze(-1) + taps
    inside = (place >= start.unsqueeze(-1)) & (place < (start + length).unsqueeze(-1))
    weights = weights * inside
    weights = weights / weights.sum(-1, keepdim=True)
    return weights.new_zeros(len(weights), size, num_pixels).scatter_(-1, place, weights)


def _bicubic(distance: Tensor) -> Tensor:
    """Return Keys' cubic kernel with a = -0.5, the one of Pillow and of torch's antialiased resize.

    With u = max(2 - |d|, 0) and v = max(1 - |d|, 0) it is u²(u - 1) / 2 + v²(1 - 2v): the outer piece, and what
    the inner one adds to it.
    """
    outer = (2 - distance.abs()).clamp_(min=0)
    less = outer - 1
    inner = less.clamp(min=0)
    return 0.5 * outer * outer * less + inner * inner * (1 - 2 * inner)


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp_(min=0)


# Kernel, and the distance in output pixels at which it ends.
_KERNELS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {"bicubic": (_bicubic, 2), "bilinear": (_bilinear, 1)}
