"""Histograms of intensity: how alike crops of one image are, with their colour operations and without.

Enters: a view generator and its place in the recipe, images. Leaves: crops with their histograms, as in figure 6 of
Chen et al. 2020. Called by `preview`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sslkit.engine.batches import Source, sample_batch
from sslkit.engine.choices import built
from sslkit.engine.interfaces import Views
from sslkit.engine.prepared_views import as_uint8
from sslkit.recipe.plan import Choice

BINS: Final = 64
"""Bins of a histogram: four of 256 levels each share one."""

_CROPS: Final = 6  # of each image
# What generators call their operations that change colours, and how each is turned off.
_COLOUR_OPTIONS: Final = {
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
    "solarize_probability": 0.0,
    "equalize_probability": 0.0,
    "auto_augment": "none",
}


@dataclass(frozen=True)
class Crop:
    """One view in a histogram panel.

    Attributes:
        picture: The view.
        shares: float64 [BINS], which share of the values of all channels lies in each bin.
        mean: Of all values, 0 to 1.
        deviation: Standard deviation of all values.
    """

    picture: Image.Image
    shares: npt.NDArray[np.float64]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Panel:
    """Histograms of several crops of a few images.

    Attributes:
        title: What was done to the crops.
        rows: The crops of each image.
    """

    title: str
    rows: list[list[Crop]]

    @property
    def overlap_within(self) -> float:
        """Mean overlap of the histograms of two crops of one image, 0 to 1 (equal)."""
        first, second = np.triu_indices(len(self.rows[0]), 1)
        return float(np.mean([_overlaps(row, row)[first, second].mean() for row in self.rows]))

    @property
    def overlap_between(self) -> float | None:
        """Mean overlap of crops of two images; None with a single image."""
        return float(_overlaps(*self.rows[:2]).mean()) if len(self.rows) > 1 else None


def intensity_histograms(
    source: Source, choice: Choice, views: Views, seed: int, epoch: int, indices: Sequence[int]
) -> tuple[list[Panel], str]:
    """Count the intensities of several crops of a few images.

    Args:
        source: The images.
        choice: The recipe's views.
        views: The generator built from it, complete.
        seed: The run's.
        epoch: Whose views; those of the epochs that follow are added until there are six of each image.
        indices: Which images.

    Returns:
        The panel without colour operations and that with them, or only the latter; and what was turned off, or why
        nothing was.
    """
    rows = _rows(source, views, seed, epoch, indices)
    plain, about_colour = _without_colour(choice, views, seed)
    if plain is None:
        return [Panel("Views as they are", rows)], about_colour
    plain_rows = _rows(source, plain, seed, epoch, indices)
    panels = [Panel("(a) Without colour operations", plain_rows), Panel("(b) With colour operations", rows)]
    return panels, about_colour


def picture_of(image: Tensor) -> Image.Image:
    """Return an image [C, H, W], uint8 or in [0, 1]: its first three channels in colour, or its first in grey."""
    levels = _levels(image)
    if len(levels) < 3:
        return Image.fromarray(levels[0].numpy())
    return Image.fromarray(levels[:3].permute(1, 2, 0).contiguous().numpy())


def _without_colour(choice: Choice, views: Views, seed: int) -> tuple[Views | None, str]:
    """Return the same generator with its colour operations off, or None; and what was turned off, or why nothing."""
    name, options = choice.component.name, choice.options
    active = [option for option, off in _COLOUR_OPTIONS.items() if options.get(option, off) != off]
    if not active:
        return None, f"{name} has no colour operations that an option could turn off ({', '.join(_COLOUR_OPTIONS)})."
    off = {option: _COLOUR_OPTIONS[option] for option in active}
    plain = built(replace(choice, options={**options, **off}), seed)
    # One whose numbers depend on how many it draws takes other crops once it draws less.
    if not hasattr(plain, "apply") or not _draws_alike(plain, views):
        return None, f"{name} would take other crops without its colour operations."
    return plain, f"Both panels show the same crops; turned off in (a): {', '.join(active)}."


def _draws_alike(first: Views, second: Views) -> bool:
    """Return whether two generators draw the same numbers, as far as both draw any."""
    key = np.zeros(1, dtype=np.uint64)
    one, other = first.draw(key), second.draw(key)
    common = min(one.shape[-1], other.shape[-1])
    return bool(np.array_equal(one[..., :common], other[..., :common]))


def _rows(source: Source, views: Views, seed: int, epoch: int, indices: Sequence[int]) -> list[list[Crop]]:
    """Return several crops of each image: its views of this epoch, and of those that follow."""
    rows: list[list[Crop]] = [[] for _ in indices]
    while len(rows[0]) < _CROPS:
        raw = sample_batch(source, views, seed, epoch, indices)
        for view in views.apply(raw.groups, raw.draws):
            for row, pixels in zip(rows, view, strict=True):
                row.append(_crop(pixels))
        epoch += 1
    return [row[:_CROPS] for row in rows]


def _crop(view: Tensor) -> Crop:
    levels = _levels(view)
    counts = torch.bincount(levels.flatten().long() * BINS // 256, minlength=BINS).double()
    values = levels.double() / 255
    deviation = float(values.std(correction=0))
    return Crop(picture_of(view), (counts / counts.sum()).numpy(), float(values.mean()), deviation)


def _levels(image: Tensor) -> Tensor:
    return image if image.dtype == torch.uint8 else as_uint8(image.detach().float().nan_to_num().clamp(0, 1))


def _overlaps(first: list[Crop], second: list[Crop]) -> npt.NDArray[np.float64]:
    """Return the common area of each two histograms, [len(first), len(second)]."""
    one, other = (np.stack([crop.shares for crop in crops]) for crops in (first, second))
    overlaps: npt.NDArray[np.float64] = np.minimum(one[:, None], other[None]).sum(axis=-1)
    return overlaps
