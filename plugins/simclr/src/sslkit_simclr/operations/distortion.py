"""The paper's colour distortion, jitter and then colour drop: the laws of its parameters.

Enters: uniform numbers. Leaves: parameters, and changed images. Called through `policy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sslkit_simclr.operations import colour, colour_torchvision
from sslkit_simclr.operations.colour import Jitter
from sslkit_simclr.operations.operation import among, unless

Semantics = Literal["paper", "torchvision"]


class Distorted(NamedTuple):
    """The jitter of N images, and bool [N]: which lose their colour; None for what is left out altogether."""

    jitter: Jitter | None
    gray: Tensor | None


def distort(images: Tensor, parameters: Distorted, semantics: Semantics) -> Tensor:
    """Change the colours of images, float32 [N, 3, H, W] in [0, 1]."""
    red, green, blue = images.flatten(2).unbind(1)
    planes = (red, green, blue)
    if parameters.jitter is not None:
        jitter = colour.jitter if semantics == "paper" else colour_torchvision.jitter
        planes = jitter(planes, parameters.jitter)
    if parameters.gray is not None:
        planes = colour.grayscale(planes, parameters.gray)
    return torch.stack(planes, 1).view(images.shape)


@dataclass(frozen=True)
class ColourDistortion:
    """Brightness, contrast, saturation and hue in an order drawn per view, all 24 equally likely; then colour drop.

    With s the strength: contrast and saturation are uniform in [1 - 0.8s, 1 + 0.8s], hue in [-0.2s, 0.2s] turns; with
    a strength of its own, saturation's range is that many times as wide. Brightness is an addend in [-0.8s, 0.8s]
    (paper) or a factor like contrast (torchvision). Factors end at 0.

    Source: SimCLR, appendix A.
    """

    jitter_probability: float
    grayscale_probability: float
    strength: float
    semantics: Semantics
    pixels: Callable[[Tensor, Distorted, Semantics], Tensor]
    saturation_strength: float = 1.0
    compiled: bool = False
    name: ClassVar[str] = "colour"
    needs_colour: ClassVar[bool] = True

    @property
    def probability(self) -> float:
        """Probability that it is not left out altogether."""
        return max(self.jitter_probability, self.grayscale_probability)

    def parameters(self, draws: Tensor) -> Distorted:
        """Return the parameters from draws [N, 7]: neutral values in images that are not chosen."""
        jittered = self._jitter(draws) if self.jitter_probability > 0 else None
        gray = draws[:, 6] < self.grayscale_probability if self.grayscale_probability > 0 else None
        return Distorted(jittered, gray)

    def _jitter(self, draws: Tensor) -> Jitter:
        s = self.strength
        chosen = draws[:, 0] < self.jitter_probability
        factors = _about_one(0.8 * s)
        brightness, neutral = ((-0.8 * s, 0.8 * s), 0.0) if self.semantics == "paper" else (factors, 1.0)
        return Jitter(
            places=_places(draws[:, 1]),
            brightness=unless(chosen, among(draws[:, 2], brightness), neutral),
            contrast=unless(chosen, among(draws[:, 3], factors), 1.0),
            saturation=unless(chosen, among(draws[:, 4], _about_one(0.8 * s * self.saturation_strength)), 1.0),
            hue=unless(chosen, among(draws[:, 5], (-0.2 * s, 0.2 * s)), 0.0),
        )

    def __call__(self, images: Tensor, parameters: Distorted) -> Tensor:
        """Change the colours."""
        pixels = _compiled(self.pixels) if self.compiled else self.pixels
        return pixels(images, parameters, self.semantics)

    def describe(self, parameters: Distorted, view: int) -> dict[str, str]:
        """Say the four values of a view in their order, and whether it is grey."""
        said = {}
        if parameters.jitter is not None:
            places = parameters.jitter.places[view].tolist()
            values = [float(tensor[view]) for tensor in parameters.jitter[1:]]
            said["jitter"] = self._in_words(places, values) if values[1:] != [1, 1, 0] else "no"
        if parameters.gray is not None:
            said["grayscale"] = "yes" if parameters.gray[view] else "no"
        return said

    def _in_words(self, places: list[int], values: list[float]) -> str:
        brightness, contrast, saturation, hue = values
        words = (
            f"brightness {brightness:+.2f}" if self.semantics == "paper" else f"brightness x{brightness:.2f}",
            f"contrast x{contrast:.2f}",
            f"saturation x{saturation:.2f}",
            f"hue {360 * hue:+.0f}°",
        )
        return ", ".join(words[number] for number in sorted(range(4), key=places.__getitem__))


def _about_one(width: float) -> tuple[float, float]:
    return max(0.0, 1 - width), 1 + width


@cache
def _compiled(pixels: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # Made where it is used, and not kept with the views: what a compiler returns cannot be sent to a worker.
    return torch.compile(pixels, dynamic=False)


def _places(draws: Tensor) -> Tensor:
    """Return a uniform permutation of 0 to 3 for each number [N], int64 [N, 4].

    One operation after the other is put into a place among those before it: 2 x 3 x 4 = 24 equally likely ways. No
    table has to be looked up, which would have to be on the device first.
    """
    number = (draws * 24).long()
    places = [torch.zeros_like(number)]
    for count in (2, 3, 4):
        place, number = number % count, number // count
        places = [former + (former >= place) for former in places] + [place]
    return torch.stack(places, 1)
