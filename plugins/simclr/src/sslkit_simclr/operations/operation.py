"""What an operation is: a random change of the finished pixels, with the laws of its parameters.

Enters and leaves: nothing. Called by `policy`, which runs operations one after the other.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


class Operation(Protocol):
    """A random change of images, split into its parameters and its pixels so that both can be tested alone.

    Attributes:
        name: What `policy.COLUMNS` calls it.
        needs_colour: Whether it works on red, green and blue only.
    """

    name: ClassVar[str]
    needs_colour: ClassVar[bool]

    def parameters(self, draws: Tensor) -> Any:
        """Return a NamedTuple of tensors [N] from uniform numbers [N, k] in [0, 1)."""

    def __call__(self, images: Tensor, parameters: Any) -> Tensor:
        """Return the images, float32 [N, C, S, S]; those handed in may be overwritten."""

    def describe(self, parameters: Any, view: int) -> dict[str, str]:
        """Return the parameters of one of the N views in a few words."""


def among(draws: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return uniform numbers in [0, 1) as uniform numbers between bounds."""
    low, high = bounds
    return low + (high - low) * draws


def unless(chosen: Tensor, values: Tensor, neutral: float) -> Tensor:
    """Return values [N], neutral where an image is not chosen."""
    return torch.where(chosen, values, torch.full_like(values, neutral))


def pick(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    """Return the changed images where chosen, bool [N], else the images as they were."""
    return torch.where(chosen.view(-1, 1, 1, 1), changed, images)
