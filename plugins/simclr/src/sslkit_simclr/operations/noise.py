"""Gaussian noise, a pure function of one random number per image.

Enters: images. Leaves: images. Called through `policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from sslkit_simclr.operations.operation import pick


class Noised(NamedTuple):
    """bool [N]: which images get noise; float32 [N] in [0, 1): what it is made from."""

    chosen: Tensor
    origin: Tensor


@dataclass(frozen=True)
class Noise:
    """Add normal noise to every channel of every pixel, then clip.

    The paper names no deviation. Its pixels come from a hash of the image's own number and the pixel's place, not from
    a generator: so they do not depend on the rest of the batch, and are the same on a CPU and a GPU to rounding.

    Source: SimCLR, figure 4.
    """

    probability: float
    deviation: float
    name: ClassVar[str] = "noise"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Noised:
        """Return which images get noise, from draws [N, 2]."""
        return Noised(draws[:, 0] < self.probability, draws[:, 1])

    def __call__(self, images: Tensor, parameters: Noised) -> Tensor:
        """Add the noise."""
        noise = normal_numbers(parameters.origin, images[0].numel()).view(images.shape)
        return pick(parameters.chosen, (images + self.deviation * noise).clamp(0, 1), images)

    def describe(self, parameters: Noised, view: int) -> dict[str, str]:
        """Say the deviation of a view's noise."""
        return {"noise": f"deviation {self.deviation:g}" if parameters.chosen[view] else "no"}


def normal_numbers(origin: Tensor, count: int) -> Tensor:
    """Return standard normal numbers, float32 [N, count], from origins [N] in [0, 1) of 24 random bits."""
    place = torch.arange(count, device=origin.device)
    key = _hash((origin.double() * 2**24).long() + 1)
    bits = _hash(key.view(-1, 1) ^ _hash(place))
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23  # strictly between 0 and 1: float32 holds the half beside 23 bits
    return torch.erfinv(2 * uniform - 1) * 2**0.5


def _hash(values: Tensor) -> Tensor:
    """Return a 32-bit avalanche hash of each int64 value. Source: Wellons' `lowbias32`, nullprogram.com, 2018."""
    values = values & 0xFFFFFFFF
    values = ((values ^ (values >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    values = ((values ^ (values >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return values ^ (values >> 16)
