"""Colour jitter as the paper's code has it, and grayscale.

Enters: planes in [0, 1], and parameters for each image. Leaves: planes. Called by `distortion`, which holds the laws of
the parameters; `colour_torchvision` has another meaning of the four operations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslkit_simclr.operations.tiles import alone, everywhere

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
"""Share of red, green and blue in grey. Source: `tf.image.rgb_to_grayscale`; torchvision has the same."""

Planes = tuple[Tensor, Tensor, Tensor]
"""Red, green and blue, [N, P] each: apart, because a compiler then keeps a pixel in registers from end to end."""


class Jitter(NamedTuple):
    """Parameters of the four operations for N images, tensors [N].

    Attributes:
        places: [N, 4], the places 0 to 3 of brightness, contrast, saturation and hue in the image's own order.
        brightness: Added to all channels (paper; 0 changes nothing), or a factor on them (torchvision; 1 does).
        contrast: Factor on the distance from a mean; 1 changes nothing.
        saturation: Factor; 1 changes nothing.
        hue: Added to H of HSV, in turns, within a third; 0 changes nothing.
    """

    places: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor


def jitter(planes: Planes, parameters: Jitter) -> Planes:
    """Change brightness, contrast, saturation and hue, in each image's own order, clipping to [0, 1] after each.

    Saturation and hue keep the greatest channel of a pixel; the one scales its chroma, the other turns it. So they
    commute with each other, and every order is the fixed sequence hue-saturation, affine, hue-saturation, affine,
    hue-saturation: the two affine places hold brightness and contrast in the order drawn, saturation and hue each
    act in one of the three places around them, and elsewhere the parameters change nothing. No image waits for
    another's branch, and shapes never depend on the draws.

    Source: SimCLR, appendix A; the paper's code in its first release (additive brightness) with
    `tf.image.adjust_contrast`, `adjust_saturation` and `adjust_hue`.

    Args:
        planes: float32 [N, P] in [0, 1].
        parameters: Tensors [N].
    """
    brightness, contrast, saturation, hue = parameters.places.unbind(1)
    saturation_gap = (brightness < saturation).int() + (contrast < saturation)
    hue_gap = (brightness < hue).int() + (contrast < hue)
    one = torch.ones_like(parameters.contrast)
    for gap in range(3):
        factor = torch.where(saturation_gap == gap, parameters.saturation, one)
        planes = hue_saturation(planes, factor, parameters.hue * (hue_gap == gap))
        if gap < 2:
            is_brightness = (brightness < contrast) == (gap == 0)
            factor = torch.where(is_brightness, one, parameters.contrast)
            planes = _affine(planes, factor, parameters.brightness * is_brightness)
    return planes


def grayscale(planes: Planes, chosen: Tensor) -> Planes:
    """Replace all planes by grey in the chosen images, bool [N].

    Source: SimCLR, appendix A ("color drop").
    """
    if alone(planes[0]) and everywhere(chosen, False):
        return planes
    grey, chosen = grey_of(planes), chosen.view(-1, 1)
    red, green, blue = planes
    return torch.where(chosen, grey, red), torch.where(chosen, grey, green), torch.where(chosen, grey, blue)


def grey_of(planes: Planes) -> Tensor:
    """Return the weighted sum of the planes."""
    red, green, blue = planes
    return (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def hue_saturation(planes: Planes, factor: Tensor, turns: Tensor) -> Planes:
    """Return planes with S scaled by `factor` [N] and H turned by `turns` [N] in HSV, for pixels in [0, 1].

    With v and m the greatest and least channel and c = v - m, hue is a position p on a hexagon of circumference 6:
    |p| = 1 + (g + b - r - m) / c, on the side of the sign of g - b. A channel whose corner is o (red 0, green 2,
    blue -2) is v - c' * clamp(2 - ||p - o| - 3|, 0, 1), where c' = min(factor * c, v) is the new chroma. The formula
    holds for |p| <= 5, so turns must lie within a third. Equal to the textbook sectors, without their branches.
    """
    if alone(planes[0]) and everywhere(factor, 1) and everywhere(turns, 0):
        return planes
    red, green, blue = planes
    value = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - least
    position = (green + blue).sub_(red).add_(chroma).sub_(least).copysign_(green - blue)
    inverse = (chroma + 1e-20).reciprocal_()  # grey pixels have chroma 0 and any hue: it must only stay finite
    position.mul_(inverse).add_(turns.view(-1, 1), alpha=6)
    ratio = inverse.mul_(value)
    chroma = chroma * torch.minimum(ratio, factor.view(-1, 1))

    def channel(corner: int) -> Tensor:
        distance = (position - corner).abs_().sub_(3).abs_()
        return torch.addcmul(value, distance.sub_(2).clamp_(-1, 0), chroma)

    return channel(0), channel(2), channel(-2)


def _affine(planes: Planes, factor: Tensor, shift: Tensor) -> Planes:
    """Return each plane scaled about its own mean by `factor` [N], plus `shift` [N], clipped."""
    factor, shift = factor.view(-1, 1), shift.view(-1, 1)

    def scaled(plane: Tensor) -> Tensor:
        constant = plane.mean(1, keepdim=True) * (1 - factor) + shift
        return torch.addcmul(constant, plane, factor).clamp_(0, 1)

    red, green, blue = planes
    return scaled(red), scaled(green), scaled(blue)
