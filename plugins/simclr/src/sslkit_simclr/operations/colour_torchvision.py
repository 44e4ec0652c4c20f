"""Colour jitter as torchvision has it: brightness is a factor, contrast and saturation blend with grey.

Enters: planes in [0, 1], and parameters for each image. Leaves: planes. Called by `distortion`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit_simclr.operations.colour import Jitter, Planes, grey_of, hue_saturation
from sslkit_simclr.operations.tiles import alone, everywhere


def jitter(planes: Planes, parameters: Jitter) -> Planes:
    """Change brightness, contrast, saturation and hue, in each image's own order, clipping to [0, 1] after each.

    All but hue have the form a x + b grey(x) + c mean(grey(x)). So every order fits into three such places, hue, and
    three places more: an operation that comes before hue takes the place of its number, the others follow behind hue,
    and what is left over changes nothing. No image waits for another's branch.

    Source: torchvision's `ColorJitter`; its `adjust_brightness`, `adjust_contrast`, `adjust_saturation`, `adjust_hue`.

    Args:
        planes: float32 [N, P] in [0, 1].
        parameters: Tensors [N]; brightness is a factor.
    """
    brightness, contrast, saturation, hue = parameters.places.unbind(1)
    one = torch.ones_like(parameters.contrast)
    for place in range(7):
        if place == 3:
            planes = hue_saturation(planes, one, parameters.hue)
            continue
        # Behind hue the places count from 4, so that nothing before it can meet them.
        here = hue + place - 3 if place > 3 else torch.where(hue > place, place, -1)
        scale = torch.where(brightness == here, parameters.brightness, one)
        scale = torch.where(contrast == here, parameters.contrast, scale)
        scale = torch.where(saturation == here, parameters.saturation, scale)
        grey = torch.where(saturation == here, 1 - parameters.saturation, 0)
        mean = torch.where(contrast == here, 1 - parameters.contrast, 0)
        planes = _blend(planes, scale.view(-1, 1), grey.view(-1, 1), mean.view(-1, 1))
    return planes


def _blend(planes: Planes, scale: Tensor, of_grey: Tensor, of_mean: Tensor) -> Planes:
    if alone(planes[0]) and everywhere(scale, 1):
        return planes
    grey = grey_of(planes)
    constant = torch.addcmul(grey.mean(1, keepdim=True) * of_mean, grey, of_grey)
    red, green, blue = planes
    return (
        torch.addcmul(constant, red, scale).clamp_(0, 1),
        torch.addcmul(constant, green, scale).clamp_(0, 1),
        torch.addcmul(constant, blue, scale).clamp_(0, 1),
    )
