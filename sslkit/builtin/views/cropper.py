"""Where crops are made: in a loader's worker from images of any size, or on the device for a whole batch.

Enters: images and uniform numbers. Leaves: crops. Called by the view generators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sslkit import DataError
from sslkit.builtin.views.crop import ATTEMPTS, NUM_DRAWS, Boxes, CropRule, crop_boxes
from sslkit.builtin.views.resample import Interpolation, as_tensor, crop_and_resize, crops_of

Flip = Callable[[Tensor, Tensor], Tensor]


class Cropper:
    """Makes crops of one size, mirrored where told.

    Args:
        owner: The component's name, for messages.
        size: Side S of a crop, pixels.
        rule: What boxes are allowed.
        on: `worker` or `device`.
        flip: (images, flipped) -> images, the backend's.

    Attributes:
        num_draws: Uniform numbers of one crop: the first ones of a view.
        whole_images: Whether `prepare` returns the image as it is.

    Raises:
        DataError: A range is empty, or leaves hardly any crop.
    """

    num_draws: ClassVar[int] = NUM_DRAWS

    def __init__(self, owner: str, size: int, rule: CropRule, on: Literal["worker", "device"], flip: Flip) -> None:
        require_range(owner, "area", rule.area, at_most=1.0)
        require_range(owner, "aspect", rule.aspect)
        if rule.semantics == "paper":
            _check_coverage(owner, rule)
        self.whole_images = on == "device"
        self.size = size
        self._rule = rule
        self._flip = flip
        self._interpolation: Interpolation = "bicubic" if rule.semantics == "paper" else "bilinear"

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> Tensor:
        """Return the crops of one image, uint8 [V, C, S, S], from draws [V, K]; or the image itself, [1, C, H, W]."""
        if self.whole_images:
            return as_tensor(image).contiguous().unsqueeze(0)
        height, width = _size_of(image)
        return crops_of(image, crop_boxes(draws, height, width, self._rule), self.size, self._interpolation)

    def boxes(self, images: Tensor, numbers: Tensor) -> Boxes | None:
        """Return the boxes to cut from images [N, C, H, W] by numbers [N, K]; None if they are crops already."""
        if not self.whole_images:
            return None
        return crop_boxes(numbers, images.shape[-2], images.shape[-1], self._rule)

    def crops(self, images: Tensor, boxes: Boxes | None, flipped: Tensor) -> Tensor:
        """Return float32 [N, C, S, S] in [0, 1] of uint8 images and their boxes, the marked ones mirrored."""
        if boxes is None:
            return self._flip(images, flipped).float().div_(255)
        return crop_and_resize(images, boxes, self.size, flipped, self._interpolation)

    def describe(self, draws: npt.NDArray[np.float32], height: int, width: int) -> list[str]:
        """Return the boxes of one image of a given size in words, one per row of draws."""
        boxes = crop_boxes(draws, height, width, self._rule)
        return [boxes.in_words(number) for number in range(len(draws))]


def require_range(owner: str, name: str, bounds: tuple[float, float], *, at_most: float = float("inf")) -> None:
    """Refuse bounds that do not rise from above 0.

    Raises:
        DataError: They do not.
    """
    low, high = bounds
    if not 0 < low <= high <= at_most or high == float("inf"):
        limit = "finite" if at_most == float("inf") else f"at most {at_most:g}"
        raise DataError(f"{owner}: {name} must rise from above 0 and be {limit}: got {low}, {high}")


def _check_coverage(owner: str, rule: CropRule) -> None:
    (low, high), coverage = rule.area, rule.coverage
    if coverage <= low:
        return
    refused = 1.0 if low == high else (coverage**0.5 - low**0.5) / (high**0.5 - low**0.5)
    if refused > 0.25:  # below it, all attempts fail in fewer than 1 of 1 000 000 boxes
        raise DataError(
            f"{owner}: coverage = {coverage} refuses {min(refused, 1):.0%} of crops of area = {low}, {high}, "
            f"and after {ATTEMPTS} attempts the whole image is taken; set coverage = {low}"
        )


def _size_of(image: Any) -> tuple[int, int]:
    """Return height and width of a PIL image or a tensor [C, H, W]."""
    return (image.shape[-2], image.shape[-1]) if isinstance(image, Tensor) else (image.height, image.width)
