"""Generators that have only `prepare(image)`, made complete.

Enters: a view generator of either form. Leaves: one with all three parts. Called by `assemble`, `check` and `preview`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sslkit.engine.interfaces import Views
from sslkit.engine.randomness import Keys, seeded
from sslkit.errors import DataError

_OVERSHOOT: Final = 0.5
"""How far bicubic interpolation may leave [0, 1]: torch's by 0.41, at the corner of a square of two by two pixels."""


class PreparedViews:
    """Makes a generator that has only `prepare(image) -> V images` look complete.

    Python, numpy and torch are seeded from the sample's key around each call, so its views are as repeatable as any.

    Args:
        generator: Has `prepare(image)`; may have `num_views`, else it is 2.
    """

    def __init__(self, generator: Any) -> None:
        self._prepare: Callable[[Any], Sequence[Any]] = generator.prepare
        self.num_views: int = getattr(generator, "num_views", 2)

    def draw(self, keys: Keys) -> npt.NDArray[np.float32]:
        """Return the key itself in four parts of 16 bits, which float32 holds exactly: [B, V, 4]."""
        parts = [(keys >> np.uint64(16 * part)) & np.uint64(0xFFFF) for part in range(4)]
        draws = np.stack(parts, axis=-1).astype(np.float32)
        return np.repeat(draws[:, None], self.num_views, axis=1)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        """Return the views, each a group of its own: their order is that of `prepare`, whatever their sizes."""
        key = sum(int(part) << (16 * number) for number, part in enumerate(draws[0]))
        with seeded(key >> 1):
            views = [as_uint8(view) for view in self._prepare(image)]
        if len(views) != self.num_views:
            raise DataError(f"prepare(image) returned {len(views)} views; set num_views = {len(views)} on the class")
        return tuple(view.unsqueeze(0) for view in views)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the views as float32 in [0, 1]."""
        return [group[:, 0].float() / 255 for group in groups]


def as_uint8(image: Any) -> Tensor:
    """Return a PIL image, uint8 tensor, or float tensor in [0, 1] as uint8 [C, H, W].

    Raises:
        DataError: The tensor has other numbers, such as an image's that was normalised.
    """
    if isinstance(image, Image.Image):
        array = np.array(image)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    tensor = torch.as_tensor(image)
    if tensor.dtype == torch.uint8:
        return tensor
    low, high = (float(value) for value in tensor.aminmax())
    if not tensor.is_floating_point() or not -_OVERSHOOT <= low <= high <= 1 + _OVERSHOOT:
        raise DataError(
            f"pixels are {str(tensor.dtype).removeprefix('torch.')} from {low:.3g} to {high:.3g}; give uint8, or "
            "floats in [0, 1]; leave normalisation to the recipe's normalize, or pretrain(normalisation=...)"
        )
    return (tensor.clamp(0, 1) * 255).round().to(torch.uint8)


def complete_views(views: Any) -> Views:
    """Return a view generator with all three parts, whichever of the two forms it has."""
    completed: Views = views if hasattr(views, "apply") else PreparedViews(views)
    return completed
