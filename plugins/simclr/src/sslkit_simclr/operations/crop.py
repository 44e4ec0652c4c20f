"""The random crop of the paper's code, and its resampling to the size of a view.

Enters: uniform numbers, image sizes, uint8 images. Leaves: boxes, and crops. Called by `two_crops`, in the loader's
workers (one image) or on the device (the whole batch).
"""

from __future__ import annotations

from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ATTEMPTS = 8
"""Boxes tried before the whole image is taken."""

NUM_DRAWS = 2 * ATTEMPTS + 2
"""Uniform numbers that one box takes: aspect and side of each attempt, then the position."""


class CropRule(NamedTuple):
    """What boxes are allowed.

    Attributes:
        area: Least and greatest area, as fractions of the image.
        aspect: Least and greatest width / height.
        coverage: Least area that passes the test after rounding, as a fraction of the image.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]
    coverage: float


class Boxes(NamedTuple):
    """Boxes in whole pixels, as float64 arrays or tensors of one shape."""

    top: Any
    left: Any
    height: Any
    width: Any


def crop_boxes(draws: Any, height: int, width: int, rule: CropRule) -> Boxes:
    """Return one box per row of draws; the same numbers from numpy in a worker and from torch on a device.

    The aspect is uniform. The height is a uniform whole number between those of the least and the greatest area,
    cut to fit the image; the width follows. A box that covers too little of the image is drawn again, from the next
    of `ATTEMPTS` pairs of numbers; after the last, the box is the whole image. An attempt fails 1 time in 13 to 17,
    so that happens about once in 1e9 boxes (the paper's code tries 100 times); more often only on images more
    than three times as long as wide. The position is uniform over whole pixels.

    So the *side* is uniform, where torchvision's crop has a uniform *area*: crops are smaller on average.

    Source: SimCLR, appendix A; TensorFlow's `sample_distorted_bounding_box`, as `data_util.py` of the paper's code
    calls it: the whole image as the object, of which 0.1 must be covered.

    Args:
        draws: Uniform numbers in [0, 1), array or tensor [..., >= NUM_DRAWS].
        height: Of the images, pixels.
        width: Of the images, pixels.
        rule: What boxes are allowed.
    """
    if isinstance(draws, Tensor):
        xp: Any = torch
        draws = draws[..., :NUM_DRAWS].double()
    else:
        xp = np
        draws = draws[..., :NUM_DRAWS].astype(np.float64)
    pixels = height * width
    least, greatest = rule.area[0] * pixels, rule.area[1] * pixels
    aspect = rule.aspect[0] + (rule.aspect[1] - rule.aspect[0]) * draws[..., :ATTEMPTS]
    # The greatest height whose width, once rounded, still fits.
    fitting = xp.floor((width + 0.5 - 1e-7) / aspect).clip(max=height)
    tallest = xp.minimum(xp.round(xp.sqrt(greatest / aspect)), fitting)
    shortest = xp.minimum(xp.round(xp.sqrt(least / aspect)), tallest)
    side = shortest + xp.floor(draws[..., ATTEMPTS : 2 * ATTEMPTS] * (tallest - shortest + 1))
    # Rounding may push a box across a limit: one pixel is added or taken off.
    side = side + (side * xp.round(side * aspect) < least)
    side = side - 1.0 * (side * xp.round(side * aspect) > greatest)
    across = xp.round(side * aspect)
    area = side * across
    fits = (across >= 1) & (across <= width) & (side >= 1) & (side <= height)
    accepted = fits & (area >= least) & (area <= greatest) & (area >= rule.coverage * pixels)

    box_height = xp.full_like(side[..., 0], height)
    box_width = xp.full_like(box_height, width)
    for attempt in reversed(range(ATTEMPTS)):
        box_height = xp.where(accepted[..., attempt], side[..., attempt], box_height)
        box_width = xp.where(accepted[..., attempt], across[..., attempt], box_width)
    top = xp.floor(draws[..., 2 * ATTEMPTS] * (height - box_height + 1))
    left = xp.floor(draws[..., 2 * ATTEMPTS + 1] * (width - box_width + 1))
    return Boxes(top, left, box_height, box_width)


def crop_and_resize(images: Tensor, boxes: Boxes, size: int, flipped: Tensor) -> Tensor:
    """Return each image's box resampled to size x size: bicubic, antialiased, in [0, 1].

    Resampling along an axis is linear, so it is a product with a matrix [size, pixels] made for each box; mirroring
    is another order of its rows. As in `torch.nn.functional.interpolate(..., antialias=True)` of the slice, pixels
    outside the box have no influence.

    Args:
        images: uint8 [N, C, H, W].
        boxes: Tensors [N].
        size: Side of a crop, pixels.
        flipped: bool [N], which crops to mirror left to right.

    Returns:
        float32 [N, C, size, size].
    """
    num_images, channels, height, width = images.shape
    rows = _resampling(boxes.top, boxes.height, torch.zeros_like(flipped), size, height) / 255
    columns = _resampling(boxes.left, boxes.width, flipped, size, width)
    pixels = images.float().view(num_images, channels * height, width)
    along = torch.bmm(pixels, columns.transpose(1, 2)).view(num_images, channels, height, size)
    return torch.matmul(rows.unsqueeze(1), along).clamp_(0, 1)


def _resampling(start: Tensor, length: Tensor, reverse: Tensor, size: int, num_pixels: int) -> Tensor:
    """Return the matrices [N, size, num_pixels] that resample `length` pixels from `start` to `size`."""
    start, length = start.view(-1, 1), length.view(-1, 1)
    output = torch.arange(size, dtype=torch.float64, device=start.device)
    output = torch.where(reverse.view(-1, 1), size - 1 - output, output)
    centre = start + length / size * (output + 0.5)
    stretch = (length / size).clamp(min=1)  # antialiasing: the kernel is stretched when the image shrinks
    # Of each row only the pixels under the kernel are computed, as many for every row so that shapes are fixed.
    num_taps = min(2 * ceil(2 * max(num_pixels / size, 1)) + 1, num_pixels)
    first = (centre - 2 * stretch).floor().clamp(0, num_pixels - num_taps)
    offset, stretch = (first + 0.5 - centre).float().unsqueeze(-1), stretch.float().unsqueeze(-1)
    taps = torch.arange(num_taps, device=start.device)
    weights = _bicubic((taps + offset) / stretch)
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
