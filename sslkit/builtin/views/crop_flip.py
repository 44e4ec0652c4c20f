"""The views of a plain training with labels: random crop and mirroring, nothing else.

Enters: keys, images. Leaves: V tensors [B, C, S, S] in [0, 1]. Called by the engine, in supervised pretraining and in
the evaluations that train on images. The crop is that of SimCLR's pretraining: from equal keys, equal crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from sslkit import uniforms
from sslkit.builtin.views.crop import CropRule
from sslkit.builtin.views.cropper import Cropper

Probability = Annotated[float, Interval(ge=0, le=1)]

_FLIP = Cropper.num_draws  # the column of its uniform number: the one after the crop's


class CropFlip:
    """A random crop, resized, and mirrored left to right half of the time.

    Source: SimCLR, appendices B.5, B.6 and B.8.1: what classifiers and fine-tuned networks are trained on; the crop's
    law is that of appendix A.

    Args:
        image_size: Side S of a view, pixels.
        semantics: `paper`: crops of uniform side, resized bicubically. `torchvision`: crops of uniform area, resized
            bilinearly.
        area: Least and greatest area of a crop, as fractions of the image.
        aspect: Least and greatest width / height of a crop.
        coverage: A crop of less than this fraction of the image is drawn again; of no effect in torchvision's law.
        flip_probability: Of mirroring left to right.
        crop_on: Where crops are made. `worker`: in the loader, from images of any size. `device`: for the whole
            batch at once, from images of one size; small sets then need no loader.
        num_views: Views of each image.

    Attributes:
        num_views: Views of each image.
        whole_images: Whether `prepare` returns the image as it is.

    Raises:
        DataError: If a range is empty or leaves hardly any crop.
    """

    def __init__(
        self,
        *,
        image_size: Annotated[int, Gt(0)] = 224,
        semantics: Literal["paper", "torchvision"] = "paper",
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (3 / 4, 4 / 3),
        coverage: Probability = 0.1,
        flip_probability: Probability = 0.5,
        crop_on: Literal["worker", "device"] = "worker",
        num_views: Annotated[int, Ge(1)] = 1,
    ) -> None:
        rule = CropRule(area, aspect, coverage, semantics)
        self._cropper = Cropper("builtin.crop_flip", image_size, rule, crop_on, _flip)
        self._flip_probability = flip_probability
        self.num_views = num_views
        self.whole_images = self._cropper.whole_images

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return the uniform numbers of every view, float32 [B, V, K], from one key per sample, uint64 [B]."""
        return uniforms(keys, self.num_views, _FLIP + 1)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor]:
        """Return the crops of one image, uint8 [V, C, S, S], or the image itself, [1, C, H, W]; not yet mirrored."""
        return (self._cropper.prepare(image, draws),)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the V views of a batch, float32 [B, C, S, S] in [0, 1].

        Args:
            groups: One tensor, uint8 [B, V, C, S, S] from `prepare` (or [B, 1, C, H, W]).
            draws: float32 [B, V, K], on the same device.
        """
        (images,) = groups
        images = images.expand(-1, self.num_views, -1, -1, -1)
        return [self._view(images[:, view], draws[:, view]) for view in range(self.num_views)]

    def describe(self, draws: npt.NDArray[np.float32], height: int, width: int) -> list[dict[str, str]]:
        """Return crop and mirroring of each view of one image in words.

        Args:
            draws: float32 [V, K].
            height: Of the image, pixels.
            width: Of the image, pixels.
        """
        crops = self._cropper.describe(draws, height, width)
        return [
            {"crop": crop, "flip": "yes" if row[_FLIP] < self._flip_probability else "no"}
            for crop, row in zip(crops, draws, strict=True)
        ]

    def _view(self, images: Tensor, draws: Tensor) -> Tensor:
        mirrored = draws[:, _FLIP] < self._flip_probability
        return self._cropper.crops(images, self._cropper.boxes(images, draws), mirrored)


def _flip(images: Tensor, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
