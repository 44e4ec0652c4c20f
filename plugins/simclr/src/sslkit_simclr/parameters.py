"""What the random numbers of a view mean: which column is which parameter, and the laws of the parameters.

Enters: uniform numbers. Leaves: parameters of the pixel operations. Called by `two_crops`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit_simclr.operations import crop
from sslkit_simclr.operations.colour import ORDERS, Jitter

_FLIP, _JITTER, _ORDER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GRAYSCALE, _BLUR, _SIGMA = range(
    crop.NUM_DRAWS, crop.NUM_DRAWS + 10
)
NUM_DRAWS = crop.NUM_DRAWS + 10
"""Uniform numbers of one view, K: those of the crop first."""


class Rule(NamedTuple):
    """The laws of the parameters: the options of `TwoCrops` of the same names."""

    flip_probability: float
    colour_strength: float
    jitter_probability: float
    grayscale_probability: float
    blur_probability: float
    blur_sigma: tuple[float, float]


@dataclass(frozen=True)
class Parameters:
    """Parameters of N views, tensors [N].

    Attributes:
        flipped: bool.
        jitter: With values that change nothing in views without jitter.
        gray: bool.
        blurred: bool.
        sigma: Standard deviation of the blur, pixels.
    """

    flipped: Tensor
    jitter: Jitter
    gray: Tensor
    blurred: Tensor
    sigma: Tensor

    def __getitem__(self, part: slice) -> Parameters:
        """Return the parameters of a slice of the views."""
        return Parameters(
            self.flipped[part],
            Jitter(*(values[part] for values in self.jitter)),
            self.gray[part],
            self.blurred[part],
            self.sigma[part],
        )


def parameters_of(draws: Tensor, rule: Rule) -> Parameters:
    """Return the parameters of N views from their uniform numbers.

    Brightness is uniform in [-0.8s, 0.8s], contrast and saturation in [1 - 0.8s, 1 + 0.8s], hue in
    [-0.2s, 0.2s] turns, with s the colour strength; lower ends stop at 0 where a factor would be negative.
    All 24 orders are equally likely.

    Source: SimCLR, appendix A.

    Args:
        draws: float32 [N, K] in [0, 1).
        rule: The laws.
    """
    strength = rule.colour_strength
    jittered = draws[:, _JITTER] < rule.jitter_probability
    factors = (max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength)
    jitter = Jitter(
        order=(draws[:, _ORDER] * len(ORDERS)).long(),
        brightness=_uniform(draws[:, _BRIGHTNESS], (-0.8 * strength, 0.8 * strength), jittered, 0.0),
        contrast=_uniform(draws[:, _CONTRAST], factors, jittered, 1.0),
        saturation=_uniform(draws[:, _SATURATION], factors, jittered, 1.0),
        hue=_uniform(draws[:, _HUE], (-0.2 * strength, 0.2 * strength), jittered, 0.0),
    )
    low, high = rule.blur_sigma
    return Parameters(
        flipped=draws[:, _FLIP] < rule.flip_probability,
        jitter=jitter,
        gray=draws[:, _GRAYSCALE] < rule.grayscale_probability,
        blurred=draws[:, _BLUR] < rule.blur_probability,
        sigma=low + (high - low) * draws[:, _SIGMA],
    )


def _uniform(draws: Tensor, bounds: tuple[float, float], chosen: Tensor, neutral: float) -> Tensor:
    low, high = bounds
    return torch.where(chosen, low + (high - low) * draws, torch.full_like(draws, neutral))
