"""Mirroring, quarter turns, and cutting a square out.

Enters: images, and parameters for each. Leaves: images. Called through `policy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from sslkit_simclr.operations.operation import pick
from sslkit_simclr.operations.tiles import alone, everywhere


class Flipped(NamedTuple):
    """bool [N]: which images are mirrored."""

    chosen: Tensor


class Turned(NamedTuple):
    """float [N]: quarter turns counter-clockwise, 0 to 3."""

    quarters: Tensor


class CutOut(NamedTuple):
    """bool [N], and the centre of the square as a fraction of the side, float [N]."""

    chosen: Tensor
    row: Tensor
    column: Tensor


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Return the images [N, C, H, W], those marked in bool [N] mirrored left to right."""
    if alone(images) and everywhere(flipped, False):
        return images
    return pick(flipped, images.flip(-1), images)


@dataclass(frozen=True)
class Flip:
    """Whether to mirror left to right; the pixels are mirrored while they are cropped. Source: SimCLR, appendix A."""

    probability: float

    def parameters(self, draws: Tensor) -> Flipped:
        """Return whether each image is mirrored, from draws [N, 1]."""
        return Flipped(draws[:, 0] < self.probability)

    def describe(self, parameters: Flipped, view: int) -> dict[str, str]:
        """Say whether a view is mirrored."""
        return {"flip": "yes" if parameters.chosen[view] else "no"}


@dataclass(frozen=True)
class QuarterTurns:
    """Turn by 90, 180 or 270 degrees, each as likely.

    Source: SimCLR, figure 4 (the three angles). Its probability is not published; with 0.75 the four angles of table 3
    are equally likely.
    """

    probability: float
    name: ClassVar[str] = "rotation"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Turned:
        """Return the number of quarter turns, from draws [N, 2]."""
        turns = 1 + (draws[:, 1] * 3).floor()
        return Turned(torch.where(draws[:, 0] < self.probability, turns, torch.zeros_like(turns)))

    def __call__(self, images: Tensor, parameters: Turned) -> Tensor:
        """Turn each image by its own angle."""
        turned = images
        for quarters in (1, 2, 3):
            turned = pick(parameters.quarters == quarters, images.rot90(quarters, (-2, -1)), turned)
        return turned

    def describe(self, parameters: Turned, view: int) -> dict[str, str]:
        """Say the angle of a view."""
        quarters = int(parameters.quarters[view])
        return {"rotation": f"{90 * quarters}°" if quarters else "no"}


@dataclass(frozen=True)
class Cutout:
    """Paint a square grey whose centre is anywhere in the image, so that a part of it may lie outside.

    Source: DeVries and Taylor 2017, arXiv:1708.04552 (a square of half the side on CIFAR-10, its centre anywhere). The
    paper's own size is not published.
    """

    probability: float
    side: float
    name: ClassVar[str] = "cutout"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> CutOut:
        """Return where the square lies, from draws [N, 3]."""
        return CutOut(draws[:, 0] < self.probability, draws[:, 1], draws[:, 2])

    def __call__(self, images: Tensor, parameters: CutOut) -> Tensor:
        """Paint the squares."""
        size = images.shape[-1]
        length = round(self.side * size)
        place = torch.arange(size, device=images.device)
        inside = []
        for centre in (parameters.row, parameters.column):
            start = ((centre * size).floor() - length // 2).view(-1, 1)
            inside.append((place >= start) & (place < start + length))
        square = inside[0].view(-1, 1, size, 1) & inside[1].view(-1, 1, 1, size)
        return torch.where(square & parameters.chosen.view(-1, 1, 1, 1), torch.full_like(images, 0.5), images)

    def describe(self, parameters: CutOut, view: int) -> dict[str, str]:
        """Say where the centre of a view's square lies."""
        chosen, row, column = (values[view].item() for values in parameters)
        return {"cutout": f"centre {column:.0%} from the left, {row:.0%} from the top" if chosen else "no"}
