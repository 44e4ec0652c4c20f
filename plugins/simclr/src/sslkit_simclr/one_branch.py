"""The views of figure 5: one crop twice, with one or two operations on one of the two only.

Enters: keys, images. Leaves: two tensors [B, C, S, S] in [0, 1]. Called by the engine like `two_crops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Gt, Interval, Len
from torch import Tensor

from sslkit import Boxes, Cropper, CropRule, DataError, crop_and_resize, crop_boxes, require_range, uniforms
from sslkit_simclr.operations.blur import Blur
from sslkit_simclr.operations.distortion import ColourDistortion
from sslkit_simclr.operations.geometry import Cutout, QuarterTurns
from sslkit_simclr.operations.noise import Noise
from sslkit_simclr.operations.tiles import tiles
from sslkit_simclr.policy import Policy, part_of
from sslkit_simclr.two_crops import blur_radius, pixels_of

OperationName = Literal["crop", "cutout", "colour", "sobel", "noise", "blur", "rotate"]


class OneBranch:
    """Asymmetric views, to study operations alone and in pairs: the same crop twice, one of the two changed.

    An image is cropped and resized once. The first view is that crop, the second is the crop after the operations in
    their order. Were the two crops drawn apart, every operation would be paired with cropping: the figure's 2.6 % of
    blur alone show that they are not. The operations act always; `colour` is the paper's distortion, jitter with
    probability 0.8, then colour drop with probability 0.2. `crop` crops the crop again.

    Source: SimCLR, section 3.1 and figure 5. The parameters of cutout, Sobel, noise and rotation are not published.

    Args:
        operations: One or two of them, in their order. One named twice acts once: the figure's diagonal.
        image_size: Side S of a view, pixels.
        area: Least and greatest area of a crop, as fractions of the image.
        aspect: Least and greatest width / height of a crop.
        coverage: A crop of less than this fraction of the image is drawn again.
        colour_strength: s in the paper.
        blur_sigma: Least and greatest standard deviation of the blur, pixels.
        noise_deviation: Standard deviation of the noise.
        cutout_side: Side of the square, as a fraction of `image_size`.
        crop_on: As in `simclr.two_crops`.
        backend: As in `simclr.two_crops`.

    Attributes:
        num_views: 2.
        whole_images: Whether `prepare` returns the image as it is.

    Raises:
        DataError: Blur has no kernel at this size, or a range is empty.
    """

    num_views = 2

    def __init__(
        self,
        *,
        operations: Annotated[list[OperationName], Len(1, 2)],
        image_size: Annotated[int, Gt(0)] = 224,
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (3 / 4, 4 / 3),
        coverage: Annotated[float, Interval(ge=0, le=1)] = 0.1,
        colour_strength: Annotated[float, Interval(gt=0, le=1.5)] = 1.0,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        noise_deviation: Annotated[float, Gt(0)] = 0.1,
        cutout_side: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        crop_on: Literal["worker", "device"] = "worker",
        backend: Literal["fused", "kornia"] = "fused",
    ) -> None:
        owner = "simclr.one_branch"
        radius = blur_radius(image_size)
        if "blur" in operations and radius == 0:
            raise DataError(f"{owner}: blur has no kernel below 20 pixels; set a larger image_size than {image_size}")
        require_range(owner, "blur_sigma", blur_sigma)
        rule = CropRule(area, aspect, coverage)
        pixels = pixels_of(backend)
        self._cropper = Cropper(owner, image_size, rule, crop_on, pixels.flip)
        self.whole_images = self._cropper.whole_images
        made: dict[str, Callable[[], Any]] = {
            "crop": lambda: _CropAgain(rule, image_size),
            "cutout": lambda: Cutout(1.0, cutout_side),
            "colour": lambda: ColourDistortion(0.8, 0.2, colour_strength, "paper", pixels.distort),
            "sobel": lambda: import_module("sslkit_simclr.operations.corrupt").Sobel(1.0),
            "noise": lambda: Noise(1.0, noise_deviation),
            "blur": lambda: Blur(1.0, blur_sigma, radius, "black", pixels.blur),
            "rotate": lambda: QuarterTurns(1.0),
        }
        self._policy = Policy(
            owner,
            [made[name]() for name in dict.fromkeys(operations)],
            without_colour='leave "colour" out of operations',
        )

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return the uniform numbers, float32 [B, 2, K]: the first row is the crop's, the second the operations'."""
        return uniforms(keys, 2, self._policy.num_draws)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor]:
        """Return the one crop of an image, uint8 [1, C, S, S], or the image itself, [1, C, H, W]."""
        return (self._cropper.prepare(image, draws[:1]),)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the crop, and the crop changed, float32 [B, C, S, S] each.

        Raises:
            DataError: If images are not of 3 channels while an operation changes colours.
        """
        images = groups[0][:, 0]
        self._policy.require_colour(images.shape[1])
        size = self._cropper.size
        crops = torch.empty(*images.shape[:2], size, size, device=images.device)
        changed = torch.empty_like(crops)
        with torch.autocast(images.device.type, enabled=False):
            parameters = self._policy.parameters(draws[:, 1])
            boxes = self._cropper.boxes(images, draws[:, 0])
            for part in tiles(len(images), size**2, images.device):
                box = None if boxes is None else Boxes(*(edge[part] for edge in boxes))
                mirrored = torch.zeros_like(draws[part, 0, 0], dtype=torch.bool)
                crops[part] = self._cropper.crops(images[part], box, mirrored)
                changed[part] = self._policy(crops[part].clone(), part_of(parameters, part)).clamp_(0, 1)
        return [crops, changed]

    def compile(self) -> None:
        """Compile the colour operations on first use; see `TwoCrops.compile`."""
        self._policy.compile()

    def describe(self, draws: npt.NDArray[np.float32], height: int, width: int) -> list[dict[str, str]]:
        """Return the parameters of both views of one image in words; see `TwoCrops.describe`."""
        crop = {"crop": self._cropper.describe(draws[:1], height, width)[0]}
        (operations,) = self._policy.describe(torch.from_numpy(draws[1:]))
        return [crop, crop | operations]


@dataclass(frozen=True)
class _CropAgain:
    """Crop a crop again, and resize it back."""

    rule: CropRule
    size: int
    name: ClassVar[str] = "crop"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Boxes:
        return crop_boxes(draws, self.size, self.size, self.rule)

    def __call__(self, images: Tensor, parameters: Boxes) -> Tensor:
        mirrored = torch.zeros_like(parameters.top, dtype=torch.bool)
        return crop_and_resize(images, parameters, self.size, mirrored)

    def describe(self, parameters: Boxes, view: int) -> dict[str, str]:
        return {"crop again": parameters.in_words(view)}
