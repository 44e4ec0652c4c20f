"""The random crop: the law of its box, as in the paper's code or as in torchvision's.

Enters: uniform numbers and image sizes. Leaves: boxes. Called by the view generators, in the loader's workers (one
image) or on the device (the whole batch).
"""

from __future__ import annotations

from math import log
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

ATTEMPTS = 10
"""Boxes tried before there is a fixed one. Source: torchvision; the paper's code tries 100."""

NUM_DRAWS = 2 * ATTEMPTS + 2
"""Uniform numbers that one box takes: aspect and size of each attempt, then the position."""


class CropRule(NamedTuple):
    """What boxes are allowed.

    Attributes:
        area: Least and greatest area, as fractions of the image.
        aspect: Least and greatest width / height.
        coverage: Least area that passes the paper's test after rounding, as a fraction of the image.
        semantics: Whose law.
    """

    area: tuple[float, float]
    aspect: tuple[float, float]
    coverage: float
    semantics: Literal["paper", "torchvision"] = "paper"


class Boxes(NamedTuple):
    """Boxes in whole pixels, as float64 arrays or tensors of one shape."""

    top: Any
    left: Any
    height: Any
    width: Any

    def in_words(self, number: int) -> str:
        """Return size and place of one box."""
        top, left, height, width = (int(edge[number]) for edge in self)
        return f"{width} x {height} at ({left}, {top})"


def crop_boxes(draws: Any, height: int, width: int, rule: CropRule) -> Boxes:
    """Return one box per row of draws; the same numbers from numpy in a worker and from torch on a device.

    A box that is not allowed is drawn again, from the next of `ATTEMPTS` pairs of numbers. The position is uniform over
    whole pixels.

    Args:
        draws: Uniform numbers in [0, 1), array or tensor [..., >= NUM_DRAWS].
        height: Of the images, pixels.
        width: Of the images, pixels.
        rule: What boxes are allowed.
    """
    if isinstance(draws, Tensor):
        xp: Any = torch
        draws = draws[..., :NUM_DRAWS].double()
    else:
        xp = np
        draws = draws[..., :NUM_DRAWS].astype(np.float64)
    law = _paper if rule.semantics == "paper" else _torchvision
    tall, wide, allowed, otherwise = law(
        xp, draws[..., :ATTEMPTS], draws[..., ATTEMPTS : 2 * ATTEMPTS], height, width, rule
    )
    found = allowed.any(-1)
    first = allowed & (allowed.cumsum(-1) == 1)

    def chosen(values: Any, fallback: float) -> Any:
        return xp.where(found, (values * first).sum(-1), fallback)

    box_height, box_width = chosen(tall, otherwise[0]), chosen(wide, otherwise[1])
    down, across = draws[..., 2 * ATTEMPTS], draws[..., 2 * ATTEMPTS + 1]
    top = xp.where(found, xp.floor(down * (height - box_height + 1)), (height - otherwise[0]) // 2)
    left = xp.where(found, xp.floor(across * (width - box_width + 1)), (width - otherwise[1]) // 2)
    return Boxes(top, left, box_height, box_width)


def _paper(xp: Any, aspects: Any, sizes: Any, height: int, width: int, rule: CropRule) -> tuple[Any, ...]:
    """Return heights, widths, whether they are allowed, and the box after the last attempt: the whole image.

    The aspect is uniform. The height is a uniform whole number between those of the least and the greatest area,
    cut to fit the image; the width follows. So the *side* is uniform, and crops are smaller on average than
    torchvision's. An attempt fails 1 time in 13 to 17: all fail about once in 1e11 boxes, more often only on images
    more than three times as long as wide.

    Source: SimCLR, appendix A; TensorFlow's `sample_distorted_bounding_box`, as `data_util.py` of the paper's code
    calls it: the whole image as the object, of which 0.1 must be covered.
    """
    pixels = height * width
    least, greatest = rule.area[0] * pixels, rule.area[1] * pixels
    aspect = rule.aspect[0] + (rule.aspect[1] - rule.aspect[0]) * aspects
    # The greatest height whose width, once rounded, still fits.
    fitting = xp.floor((width + 0.5 - 1e-7) / aspect).clip(max=height)
    tallest = xp.minimum(xp.round(xp.sqrt(greatest / aspect)), fitting)
    shortest = xp.minimum(xp.round(xp.sqrt(least / aspect)), tallest)
    tall = shortest + xp.floor(sizes * (tallest - shortest + 1))
    # Rounding may push a box across a limit: one pixel is added or taken off.
    tall = tall + (tall * xp.round(tall * aspect) < least)
    tall = tall - 1.0 * (tall * xp.round(tall * aspect) > greatest)
    wide = xp.round(tall * aspect)
    area = tall * wide
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    allowed = fits & (area >= least) & (area <= greatest) & (area >= rule.coverage * pixels)
    return tall, wide, allowed, (height, width)


def _torchvision(xp: Any, aspects: Any, sizes: Any, height: int, width: int, rule: CropRule) -> tuple[Any, ...]:
    """Return the same as `_paper`; after the last attempt there is the greatest central box of an allowed aspect.

    Area and logarithm of the aspect are uniform. Source: torchvision's `RandomResizedCrop.get_params`.
    """
    area = height * width * (rule.area[0] + (rule.area[1] - rule.area[0]) * sizes)
    low, high = log(rule.aspect[0]), log(rule.aspect[1])
    aspect = xp.exp(low + (high - low) * aspects)
    wide, tall = xp.round(xp.sqrt(area * aspect)), xp.round(xp.sqrt(area / aspect))
    allowed = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    otherwise = (height, width)
    if width / height < rule.aspect[0]:
        otherwise = (round(width / rule.aspect[0]), width)
    elif width / height > rule.aspect[1]:
        otherwise = (height, round(height * rule.aspect[1]))
    return tall, wide, allowed, otherwise
