"""Operations outside the default policy, as kornia defines them: Sobel, equalize, solarize, motion blur.

Enters: images. Leaves: images. Called through `policy`; importing this file imports kornia, which takes seconds, so
that is done only when one of them is wanted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from kornia.enhance import equalize, solarize
from kornia.filters import motion_blur, sobel
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


class Sobel(_Corruption):
    """The magnitude of each channel's gradient, scaled so that a step from black to white gives 1.

    Source: SimCLR, figure 4 and table 3; its scale is not published.
    """

    name: ClassVar[str] = "sobel"

    def changed(self, images: Tensor) -> Tensor:
        """Return the magnitudes."""
        return (sobel(images, normalized=False, eps=1e-12) / 4).clamp(0, 1)


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
        still = torch.zeros_like(parameters.angle)
        moved = motion_blur(images, 2 * self.radius + 1, parameters.angle, still, border_type="constant")
        return pick(parameters.chosen, moved, images)

    def describe(self, parameters: Moved, view: int) -> dict[str, str]:
        """Say the direction of a view's blur."""
        return {"motion blur": f"{parameters.angle[view]:.0f}°" if parameters.chosen[view] else "no"}
