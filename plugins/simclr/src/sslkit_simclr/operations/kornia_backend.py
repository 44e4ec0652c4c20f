"""The same operations composed from kornia's functions: what each of them means, and what the fast ones must equal.

Enters and leaves: as in `geometry`, `colour` and `blur`. Called by `two_crops` with `backend = "kornia"`; importing
this file imports kornia, which takes seconds.
"""

from __future__ import annotations

from math import pi

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import (
    adjust_brightness,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation,
)
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from kornia.geometry.transform import hflip
from torch import Tensor

from sslkit_simclr.operations.colour import GREY_WEIGHTS, ORDERS, Jitter
from sslkit_simclr.operations.fused import Operations


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the marked images left to right; see `geometry.flip`."""
    return torch.where(flipped.view(-1, 1, 1, 1), hflip(images), images)


def jitter(images: Tensor, parameters: Jitter) -> Tensor:
    """Change brightness, contrast, saturation and hue in each image's own order; see `colour.jitter`.

    In each of the four places every operation runs on the whole batch, with parameters that change nothing in the
    images whose order has another one there.
    """
    for place in range(4):
        brightness = _where_due(parameters, place, "brightness", parameters.brightness, 0.0)
        contrast = _where_due(parameters, place, "contrast", parameters.contrast, 1.0)
        saturation = _where_due(parameters, place, "saturation", parameters.saturation, 1.0)
        hue = _where_due(parameters, place, "hue", parameters.hue, 0.0)
        images = adjust_brightness(images, brightness)
        # kornia scales about the mean of grey; an image of one channel makes that the channel's own mean.
        channels = images.flatten(0, 1).unsqueeze(1)
        channels = adjust_contrast_with_mean_subtraction(channels, contrast.repeat_interleave(images.shape[1]))
        images = adjust_saturation(channels.view(images.shape), saturation).clamp(0, 1)
        images = adjust_hue(images, hue * (2 * pi)).clamp(0, 1)
    return images


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Replace all channels by grey in the chosen images; see `colour.grayscale`."""
    weights = images.new_tensor(GREY_WEIGHTS)
    return torch.where(chosen.view(-1, 1, 1, 1), rgb_to_grayscale(images, weights), images)


def gaussian_blur(images: Tensor, sigma: Tensor, chosen: Tensor, radius: int) -> Tensor:
    """Blur the chosen images; see `blur.gaussian_blur`."""
    kernels = get_gaussian_kernel1d(2 * radius + 1, sigma.view(-1, 1))
    blurred = filter2d_separable(images, kernels, kernels, border_type="constant")
    return torch.where(chosen.view(-1, 1, 1, 1), blurred, images)


def _where_due(parameters: Jitter, place: int, name: str, values: Tensor, neutral: float) -> Tensor:
    due = torch.zeros_like(parameters.order, dtype=torch.bool)
    for number, order in enumerate(ORDERS):
        if order[place] == name:
            due = due | (parameters.order == number)
    return torch.where(due, values, torch.full_like(values, neutral))


OPERATIONS = Operations(flip, jitter, grayscale, gaussian_blur)
