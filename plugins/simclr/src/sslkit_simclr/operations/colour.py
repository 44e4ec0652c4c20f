"""Colour jitter and grayscale.

Enters: images in [0, 1] with their three planes apart, and parameters per image. Leaves: the same images changed
in place. Called by `two_crops`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

ORDERS = tuple(permutations(("brightness", "contrast", "saturation", "hue")))
"""All 24 orders of the four operations."""

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Share of red, green and blue in grey. Source: `tf.image.rgb_to_grayscale`."""


class Jitter(NamedTuple):
    """Parameters of the four operations for N images, tensors [N].

    Attributes:
        order: int64, position in `ORDERS`.
        brightness: Added to all channels; 0 changes nothing.
        contrast: Factor on the distance from each channel's mean; 1 changes nothing.
        saturation: Factor on S of HSV; 1 changes nothing.
        hue: Added to H of HSV, in turns, within [-0.2, 0.2]; 0 changes nothing.
    """

    order: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor


def jitter(images: Tensor, parameters: Jitter) -> Tensor:
    """Change brightness, contrast, saturation and hue, in each image's own order, clipping to [0, 1] after each.

    Saturation and hue keep the greatest channel of a pixel; the one scales its chroma, the other turns it. So they
    commute with each other, and every order is the fixed sequence hue-saturation, affine, hue-saturation, affine,
    hue-saturation: the two affine places hold brightness and contrast in the order drawn, saturation and hue each
    act in one of the three places around them, and elsewhere the parameters change nothing. No image waits for
    another's branch, and shapes never depend on the draws.

    Source: SimCLR, appendix A; the paper's code in its first release (additive brightness) with
    `tf.image.adjust_contrast`, `adjust_saturation` and `adjust_hue`.

    Args:
        images: Contiguous float32 [N, 3, H, W] in [0, 1]; overwritten.
        parameters: Tensors [N].
    """
    planes = images.view(len(images), 3, -1)
    places = _places(images.device)[parameters.order]
    first = places[:, 6] > 0
    none, one = torch.zeros_like(parameters.brightness), torch.ones_like(parameters.contrast)
    for gap in range(3):
        factor = torch.where(places[:, gap] > 0, parameters.saturation, one)
        turns = parameters.hue * places[:, 3 + gap]
        _hue_saturation_(planes, factor, turns)
        if gap < 2:
            is_brightness = first if gap == 0 else ~first
            factor = torch.where(is_brightness, one, parameters.contrast)
            shift = torch.where(is_brightness, parameters.brightness, none)
            _affine_(planes, factor, shift)
    return images


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Replace all channels by grey in the chosen images.

    Source: SimCLR, appendix A ("color drop").

    Args:
        images: float32 [N, 3, H, W]; overwritten.
        chosen: bool [N].
    """
    red, green, blue = images.unbind(1)
    grey = (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])
    return torch.where(chosen.view(-1, 1, 1, 1), grey.unsqueeze(1), images, out=images)


@lru_cache
def _places(device: torch.device) -> Tensor:
    """Return the plan of each order, [24, 7]: saturation's gap and hue's gap (one of three), brightness first."""
    rows = []
    for order in ORDERS:
        affine = [name for name in order if name in ("brightness", "contrast")]
        row = []
        for name in ("saturation", "hue"):
            gap = sum(order.index(other) < order.index(name) for other in affine)
            row += [float(place == gap) for place in range(3)]
        rows.append([*row, float(affine[0] == "brightness")])
    return torch.tensor(rows, device=device)


def _affine_(planes: Tensor, factor: Tensor, shift: Tensor) -> None:
    """Scale each channel of [N, 3, P] about its own mean by `factor`, then add `shift`, and clip."""
    factor = factor.view(-1, 1, 1)
    constant = planes.mean(2, keepdim=True) * (1 - factor) + shift.view(-1, 1, 1)
    torch.addcmul(constant, planes, factor, out=planes).clamp_(0, 1)


def _hue_saturation_(planes: Tensor, factor: Tensor, turns: Tensor) -> None:
    """Scale S by `factor` and turn H by `turns` in HSV, for [N, 3, P] in [0, 1].

    With v and m the greatest and least channel and c = v - m, hue is a position p on a hexagon of circumference 6:
    |p| = 1 + (g + b - r - m) / c, on the side of the sign of g - b. A channel whose corner is o (red 0, green 2,
    blue -2) is v - c' * clamp(2 - ||p - o| - 3|, 0, 1), where c' = min(factor * c, v) is the new chroma. The formula
    holds for |p| <= 5, so turns must lie within a third. Equal to the textbook sectors, without their branches.
    """
    red, green, blue = planes.unbind(1)
    value = torch.maximum(red, green)
    torch.maximum(value, blue, out=value)
    least = torch.minimum(red, green)
    torch.minimum(least, blue, out=least)
    chroma = value - least
    position = (green + blue).sub_(red).add_(chroma).sub_(least).copysign_(green - blue)
    inverse = (chroma + 1e-20).reciprocal_()  # grey pixels have chroma 0 and any hue: it must only stay finite
    position.mul_(inverse).add_(turns.view(-1, 1), alpha=6)
    ratio = inverse.mul_(value)
    chroma.mul_(torch.minimum(ratio, factor.view(-1, 1), out=ratio))
    for channel, corner in ((red, 0), (green, 2), (blue, -2)):
        distance = (position - corner).abs_().sub_(3).abs_()
        torch.addcmul(value, distance.sub_(2).clamp_(-1, 0), chroma, out=channel)
