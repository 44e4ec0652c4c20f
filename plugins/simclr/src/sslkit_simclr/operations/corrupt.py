"""Operations outside the default policy, as kornia defines them: Sobel, equalize, solarize, motion blur.

Enters: images. Leaves: images. Called through `policy`; importing this file imports kornia, which takes seconds, so
that is done only when one of them is wanted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from kornia.enhance import equalize, solarize
from kornia.filters import filter2d
from torch import Tensor

from sslkit_simclr.operations.operation import pick


class Chosen(NamedTuple):
    """bool [N]: which images are changed."""

    chosen: Tensor


class Moved(NamedTuple):
    """bool [N]: which images are blurred; float [N]: along which direction, degrees."""

    chosen: Tensor
    angle: Tensor


@dataclass(frozen=True)
class _Corruption(ABC):
    """What the operations without parameters share: draws [N, 1] say which images are changed."""

    probability: float
    name: ClassVar[str]
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Chosen:
        """Return which images are changed, from draws [N, 1]."""
        return Chosen(draws[:, 0] < self.probability)

    def __call__(self, images: Tensor, parameters: Chosen) -> Tensor:
        """Change the chosen images."""
        return pick(parameters.chosen, self.changed(images), images)

    @abstractmethod
    def changed(self, images: Tensor) -> Tensor:
        """Return the images changed."""

    def describe(self, parameters: Chosen, view: int) -> dict[str, str]:
        """Say whether a view is changed."""
        return {self.name: "yes" if parameters.chosen[view] else "no"}


def sobel(images: Tensor) -> Tensor:
    """Return the magnitude of each channel's gradient as kornia's `sobel` does, whose kernels come from the host."""
    place = torch.arange(3, dtype=images.dtype, device=images.device) - 1
    across = torch.outer(2 - place.abs(), place)
    padded = F.pad(images.flatten(0, 1).unsqueeze(1), (1, 1, 1, 1), "replicate")
    slopes = F.conv2d(padded, torch.stack([across, across.T]).unsqueeze(1)).view(
        *images.shape[:2], 2, *images.shape[2:]
    )
    along, down = slopes.unbind(2)
    return torch.sqrt(along * along + down * down + 1e-12)


class Sobel(_Corruption):
    """The magnitude of each channel's gradient, scaled so that a step from black to white gives 1.

    Source: SimCLR, figure 4 and table 3; its scale is not published.
    """

    name: ClassVar[str] = "sobel"

    def changed(self, images: Tensor) -> Tensor:
        """Return the magnitudes."""
        return (sobel(images) / 4).clamp(0, 1)


class Equalize(_Corruption):
    """Histogram equalisation of each channel. Source: SimCLR, appendix B.2."""

    name: ClassVar[str] = "equalize"

    def changed(self, images: Tensor) -> Tensor:
        """Return the images with flat histograms."""
        return equalize(images)


@dataclass(frozen=True)
class Solarize(_Corruption):
    """Invert all values from a threshold on. Source: SimCLR, appendix B.2; the threshold is not published."""

    threshold: float
    name: ClassVar[str] = "solarize"

    def changed(self, images: Tensor) -> Tensor:
        """Return the images with bright values inverted."""
        # A number would be copied to the device at every call, and the host would wait for it.
        return solarize(images, images.new_full((len(images),), self.threshold))


def lines(angle: Tensor, size: int) -> Tensor:
    """Return kernels [N, size, size] that average along a line through the centre, at angles [N] in degrees.

    They are those of kornia's `get_motion_kernel2d`, which turns them on the host: a tap is on the line if the nearest
    tap to where it was before the turn is. Ties are rounded to even, and 2**-20 of a pixel is no difference.
    """
    middle = (size - 1) / 2
    radians = torch.deg2rad(angle.double())
    cos, sin = radians.cos().view(-1, 1, 1), radians.sin().view(-1, 1, 1)
    offsets = torch.arange(size, dtype=torch.float64, device=angle.device) - middle
    down, across = offsets.view(-1, 1), offsets.view(1, -1)

    def nearest(place: Tensor) -> Tensor:
        return ((place * 2**20).round() / 2**20 + middle).round()

    column, row = nearest(cos * across - sin * down), nearest(sin * across + cos * down)
    on_line = ((row == middle) & (column >= 0) & (column < size)).float()
    return on_line / on_line.sum(dim=(1, 2), keepdim=True)


@dataclass(frozen=True)
class MotionBlur:
    """Average along a line in a uniform direction; black outside. Source: SimCLR, appendix B.2.

    The length, as of the Gaussian blur's kernel, is a tenth of the side: the paper names none.
    """

    probability: float
    radius: int
    name: ClassVar[str] = "motion_blur"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Moved:
        """Return which images are blurred and along which direction, from draws [N, 2]."""
        return Moved(draws[:, 0] < self.probability, 180 * draws[:, 1])

    def __call__(self, images: Tensor, parameters: Moved) -> Tensor:
        """Blur the chosen images."""
        moved = filter2d(images, lines(parameters.angle, 2 * self.radius + 1), border_type="constant")
        return pick(parameters.chosen, moved, images)

    def describe(self, parameters: Moved, view: int) -> dict[str, str]:
        """Say the direction of a view's blur."""
        return {"motion blur": f"{parameters.angle[view]:.0f}°" if parameters.chosen[view] else "no"}
