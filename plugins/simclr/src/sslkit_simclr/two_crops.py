"""The views of SimCLR: random crop, flip, colour jitter, grayscale and blur, drawn twice for every image.

Enters: keys, images. Leaves: V tensors [B, C, S, S] in [0, 1]. Called by the engine: `draw` for a chunk of samples
on the host, `prepare` for an image in a loader's worker, `apply` for a batch on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from sslkit import Boxes, Cropper, CropRule, DataError, require_range, uniforms
from sslkit_simclr.operations.blur import Blur
from sslkit_simclr.operations.distortion import ColourDistortion
from sslkit_simclr.operations.fused import Pixels
from sslkit_simclr.operations.geometry import Cutout, Flip, QuarterTurns
from sslkit_simclr.operations.noise import Noise
from sslkit_simclr.operations.tiles import tiles
from sslkit_simclr.policy import COLUMNS, Policy, part_of

Probability = Annotated[float, Interval(ge=0, le=1)]


class TwoCrops:
    """SimCLR's augmentation policy. Every view is drawn by itself, from numbers that follow from its sample's key.

    In this order: crop and resize; mirror; quarter turn; colour jitter (brightness, contrast, saturation, hue in an
    order drawn per view); grayscale; blur; solarize; equalize; motion blur; Sobel; noise; cutout. The paper's policy is
    the default; what it uses in single studies only has probability 0. Views are in [0, 1] and not normalised, as in
    the paper's code.

    Images in colour are expected. For others set `jitter_probability = 0` and `grayscale_probability = 0`.

    Source: SimCLR, appendix A; CIFAR-10: strength 0.5 and no blur, appendix B.9; the broader policy of appendix B.2
    adds Sobel, equalize, solarize and motion blur; table 3 rotation, noise and Sobel. Their parameters and
    probabilities are not published.

    Args:
        image_size: Side S of a view, pixels.
        semantics: `paper`: crops of uniform side, resized bicubically; additive brightness, contrast about each
            channel's mean, saturation in HSV; blur with black outside. `torchvision`: what most reimplementations do:
            crops of uniform area, resized bilinearly; brightness a factor, contrast and saturation by blending with
            grey; blur with mirrored borders.
        area: Least and greatest area of a crop, as fractions of the image.
        aspect: Least and greatest width / height of a crop.
        coverage: A crop of less than this fraction of the image is drawn again; of no effect in torchvision's law.
        flip_probability: Of mirroring left to right.
        colour_strength: s in the paper: scales all four ranges of the colour jitter.
        saturation_strength: How wide the range of saturation is beside the paper's; BYOL and its successors have half.
            Source: Grill et al. 2020 (BYOL, arXiv:2006.07733), table 6.
        jitter_probability: Of the colour jitter.
        grayscale_probability: Of dropping colour.
        blur_probability: Of Gaussian blur; its kernel is a tenth of `image_size`, so below 20 pixels there is none.
        blur_sigma: Least and greatest standard deviation of the blur, pixels.
        blur_sigma_per: `image`: every view has its own. `batch`: one for all images of a device's batch, as the paper's
            code has it; views then depend on their batch, on the number of processes and on `micro_batch_size`.
        rotation_probability: Of a turn by 90, 180 or 270 degrees; with 0.75 all four angles are equally likely.
        solarize_probability: Of inverting bright values.
        solarize_threshold: From this value on they are inverted.
        equalize_probability: Of equalising each channel's histogram.
        motion_blur_probability: Of blur along a line, as long as the Gaussian blur's kernel, in any direction.
        sobel_probability: Of replacing each channel by the magnitude of its gradient.
        noise_probability: Of adding normal noise.
        noise_deviation: Its standard deviation.
        cutout_probability: Of painting a square grey.
        cutout_side: Its side, as a fraction of `image_size`; a part may lie outside.
        auto_augment: The policy of AutoAugment for a set, applied to the crop, as torchvision has it; table 1 puts it
            in the place of the colour operations, so set their probabilities to 0. Needs `crop_on = "worker"`.
        crop_on: Where crops are made. `worker`: in the loader, from images of any size. `device`: for the whole
            batch at once, from images of one size; small sets then need no loader.
        backend: `fused`: fast. `kornia`: the same operations composed from kornia's, equal to 1e-5.
        num_views: Views of each image; supervised pretraining uses 1.

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
        colour_strength: Annotated[float, Interval(ge=0, le=1.5)] = 1.0,
        saturation_strength: Probability = 1.0,
        jitter_probability: Probability = 0.8,
        grayscale_probability: Probability = 0.2,
        blur_probability: Probability = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        blur_sigma_per: Literal["image", "batch"] = "image",
        rotation_probability: Probability = 0.0,
        solarize_probability: Probability = 0.0,
        solarize_threshold: Probability = 0.5,
        equalize_probability: Probability = 0.0,
        motion_blur_probability: Probability = 0.0,
        sobel_probability: Probability = 0.0,
        noise_probability: Probability = 0.0,
        noise_deviation: Annotated[float, Gt(0)] = 0.1,
        cutout_probability: Probability = 0.0,
        cutout_side: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        auto_augment: Literal["none", "imagenet", "cifar10", "svhn"] = "none",
        crop_on: Literal["worker", "device"] = "worker",
        backend: Literal["fused", "kornia"] = "fused",
        num_views: Annotated[int, Ge(1)] = 2,
    ) -> None:
        owner = "simclr.two_crops"
        require_range(owner, "blur_sigma", blur_sigma)
        pixels = pixels_of(backend)
        rule = CropRule(area, aspect, coverage, semantics)
        self._cropper = Cropper(owner, image_size, rule, crop_on, pixels.flip)
        self.num_views = num_views
        self.whole_images = self._cropper.whole_images
        self._auto_augment = None
        if auto_augment != "none":
            if crop_on == "device":
                raise DataError(f'{owner}: auto_augment works on crops in the worker: set crop_on = "worker"')
            # torchvision's transforms and, below, kornia take seconds to import: only who asks for them waits.
            home = import_module("sslkit_simclr.operations.auto_augment")
            self._auto_augment = home.AutoAugment(auto_augment)
        radius = blur_radius(image_size)
        blurs = blur_probability > 0 and radius > 0
        self._sigma_of_batch = blur_sigma_per == "batch" and blurs
        operations: list[Any] = [
            QuarterTurns(rotation_probability),
            ColourDistortion(
                jitter_probability if colour_strength > 0 else 0.0,
                grayscale_probability,
                colour_strength,
                semantics,
                pixels.distort,
                saturation_strength,
            ),
            Blur(
                blur_probability if blurs else 0.0,
                blur_sigma,
                radius,
                "black" if semantics == "paper" else "mirror",
                pixels.blur,
            ),
        ]
        if solarize_probability or equalize_probability or motion_blur_probability or sobel_probability:
            corrupt = import_module("sslkit_simclr.operations.corrupt")
            operations += [
                corrupt.Solarize(solarize_probability, solarize_threshold),
                corrupt.Equalize(equalize_probability),
                corrupt.MotionBlur(motion_blur_probability, max(radius, 1)),
                corrupt.Sobel(sobel_probability),
            ]
        operations += [Noise(noise_probability, noise_deviation), Cutout(cutout_probability, cutout_side)]
        self._flip = Flip(flip_probability)
        self._policy = Policy(
            owner,
            [operation for operation in operations if operation.probability > 0],
            without_colour="set jitter_probability = 0 (or colour_strength = 0) and grayscale_probability = 0",
        )

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return the uniform numbers of every view, float32 [B, V, K], from one key per sample, uint64 [B]."""
        last = COLUMNS["auto_augment"].stop if self._auto_augment is not None else self._policy.num_draws
        return uniforms(keys, self.num_views, max(last, COLUMNS["flip"].stop))

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor]:
        """Return the crops of one image, or the image itself when crops are made on the device.

        Args:
            image: PIL, or uint8 [C, H, W].
            draws: float32 [V, K].

        Returns:
            One tensor, uint8 [V, C, S, S] (or [1, C, H, W]). Mirroring is left to `apply`.
        """
        crops = self._cropper.prepare(image, draws)
        if self._auto_augment is not None:
            columns = COLUMNS["auto_augment"]
            crops = torch.stack(
                [self._auto_augment(crop, row[columns]) for crop, row in zip(crops, draws, strict=True)]
            )
        return (crops,)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the views of a batch: always in float32, in fixed shapes, without waiting for the device.

        Args:
            groups: One tensor, uint8 [B, V, C, S, S] from `prepare` (or [B, 1, C, H, W]).
            draws: float32 [B, V, K], on the same device.

        Returns:
            V tensors float32 [B, C, S, S] in [0, 1].

        Raises:
            DataError: If images are not of 3 channels while the policy changes colours.
        """
        (images,) = groups
        batch_size, _, channels, height, width = images.shape
        self._policy.require_colour(channels)
        # View by view, so that the views of the batch lie one after the other.
        count, size = self.num_views * batch_size, self._cropper.size
        per_view = images.transpose(0, 1).expand(self.num_views, -1, -1, -1, -1)
        sources = per_view.reshape(count, channels, height, width)
        numbers = draws.transpose(0, 1)
        if self._sigma_of_batch:
            numbers = _first_sigma_for_all(numbers)
        numbers = numbers.reshape(count, -1)
        views = torch.empty(count, channels, size, size, device=images.device)
        with torch.autocast(images.device.type, enabled=False):
            flipped = self._flip.parameters(numbers[:, COLUMNS["flip"]]).chosen
            parameters = self._policy.parameters(numbers)
            boxes = self._cropper.boxes(sources, numbers)
            for part in tiles(count, size**2, images.device):
                box = None if boxes is None else Boxes(*(edge[part] for edge in boxes))
                crops = self._cropper.crops(sources[part], box, flipped[part])
                views[part] = self._policy(crops, part_of(parameters, part)).clamp_(0, 1)
        return list(views.view(self.num_views, batch_size, *views.shape[1:]).unbind())

    def compile(self) -> None:
        """Compile the colour operations on first use: seconds of waiting once, a third of their time ever after."""
        self._policy.compile()

    def describe(self, draws: npt.NDArray[np.float32], height: int, width: int) -> list[dict[str, str]]:
        """Return the parameters of each view of one image in words, by operation.

        Args:
            draws: float32 [V, K].
            height: Of the image, pixels.
            width: Of the image, pixels.
        """
        numbers = torch.from_numpy(draws)
        mirrored = self._flip.parameters(numbers[:, COLUMNS["flip"]])
        crops, rest = self._cropper.describe(draws, height, width), self._policy.describe(numbers)
        for words in rest if self._sigma_of_batch else []:
            words["blur"] = "no" if words["blur"] == "no" else "sigma of the batch's first image"
        augmented = {"auto augment": self._auto_augment.policy} if self._auto_augment is not None else {}
        return [
            {"crop": crops[view], **augmented, **self._flip.describe(mirrored, view), **rest[view]}
            for view in range(len(draws))
        ]


def pixels_of(backend: Literal["fused", "kornia"]) -> Pixels:
    """Return the pixel operations of a backend; kornia is imported only when it is asked for."""
    home = "kornia_backend" if backend == "kornia" else "fused"
    pixels: Pixels = import_module(f"sslkit_simclr.operations.{home}").PIXELS
    return pixels


def blur_radius(image_size: int) -> int:
    """Return the pixels on either side of a blur's centre. Source: `data_util.random_blur` of the paper's code."""
    return image_size // 10 // 2


def _first_sigma_for_all(numbers: Tensor) -> Tensor:
    """Return numbers [V, B, K] with the blur's standard deviation of the first image in all others."""
    sigma = COLUMNS["blur"].stop - 1
    numbers = numbers.clone()
    numbers[:, :, sigma] = numbers[:, :1, sigma]
    return numbers
