"""The same operations composed from kornia's functions: what each of them means, and what the fast ones must equal.

Enters and leaves: as in `geometry`, `distortion` and `blur`. Called by the view generators with
`backend = "kornia"`; importing this file imports kornia, which takes seconds.
"""

from __future__ import annotations

from math import pi

from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    add_weighted,
    adjust_brightness,
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation,
)
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from kornia.geometry.transform import hflip
from torch import Tensor

from sslkit_simclr.operations.blur import Blurred, Border
from sslkit_simclr.operations.colour import GREY_WEIGHTS, Jitter
from sslkit_simclr.operations.distortion import Distorted, Semantics
from sslkit_simclr.operations.fused import Pixels
from sslkit_simclr.operations.operation import pick, unless


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the marked images left to right; see `geometry.flip`."""
    return pick(flipped, hflip(images), images)


def distort(images: Tensor, parameters: Distorted, semantics: Semantics) -> Tensor:
    """Change the colours; see `distortion.distort`."""
    if parameters.jitter is not None:
        images = (jitter if semantics == "paper" else jitter_torchvision)(images, parameters.jitter)
    return images if parameters.gray is None else pick(parameters.gray, _grey(images), images)


def jitter(images: Tensor, parameters: Jitter) -> Tensor:
    """Change brightness, contrast, saturation and hue in each image's own order; see `colour.jitter`.

    In each of the four places every operation runs on the whole batch, with parameters that change nothing in the
    images whose order has another one there.
    """
    for place in range(4):
        brightness, contrast, saturation, hue = _due(parameters, place, brightness=0.0)
        images = adjust_brightness(images, brightness)
        # kornia scales about the mean of grey; an image of one channel makes that the channel's own mean.
        channels = images.flatten(0, 1).unsqueeze(1)
        channels = adjust_contrast_with_mean_subtraction(channels, contrast.repeat_interleave(images.shape[1]))
        images = adjust_saturation(channels.view(images.shape), saturation).clamp(0, 1)
        images = adjust_hue(images, hue * (2 * pi)).clamp(0, 1)
    return images


def jitter_torchvision(images: Tensor, parameters: Jitter) -> Tensor:
    """Change the same with torchvision's meaning of each; see `colour_torchvision.jitter`."""
    for place in range(4):
        brightness, contrast, saturation, hue = _due(parameters, place, brightness=1.0)
        images = adjust_brightness_accumulative(images, brightness)
        # kornia's own two functions blend with grey of other weights, which differ by 1e-4.
        mean = _grey(images).mean((-3, -2, -1), keepdim=True).expand_as(images)
        images = _blend(images, mean, contrast)
        images = _blend(images, _grey(images).expand_as(images), saturation)
        images = adjust_hue(images, hue * (2 * pi)).clamp(0, 1)
    return images


def gaussian_blur(images: Tensor, parameters: Blurred, radius: int, border: Border) -> Tensor:
    """Blur the chosen images; see `blur.gaussian_blur`."""
    kernels = get_gaussian_kernel1d(2 * radius + 1, parameters.sigma.view(-1, 1))
    outside = "constant" if border == "black" else "reflect"
    return pick(parameters.chosen, filter2d_separable(images, kernels, kernels, border_type=outside), images)


def _grey(images: Tensor) -> Tensor:
    return rgb_to_grayscale(images, images.new_tensor(GREY_WEIGHTS))


def _blend(images: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    weights = weights.view(-1, 1, 1, 1)
    return add_weighted(images, weights, others, 1 - weights, 0.0).clamp(0, 1)


def _due(parameters: Jitter, place: int, *, brightness: float) -> tuple[Tensor, ...]:
    """Return the four parameters where their operation is due, elsewhere what changes nothing."""
    here = (parameters.places == place).unbind(1)
    return tuple(
        unless(due, values, neutral)
        for due, values, neutral in zip(here, parameters[1:], (brightness, 1.0, 1.0, 0.0), strict=True)
    )


PIXELS = Pixels(flip, distort, gaussian_blur)
