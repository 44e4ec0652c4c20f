"""The views of SimCLR: random crop, flip, colour jitter, grayscale and blur, drawn twice for every image.

Enters: keys, images. Leaves: V tensors [B, C, S, S] in [0, 1]. Called by the engine: `draw` for a chunk of samples
on the host, `prepare` for an image in a loader's worker, `apply` for a batch on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from PIL import Image
from torch import Tensor

from sslkit import DataError, uniforms
from sslkit_simclr.operations.crop import ATTEMPTS, Boxes, CropRule, crop_and_resize, crop_boxes
from sslkit_simclr.operations.fused import Operations
from sslkit_simclr.operations.threads import one_thread
from sslkit_simclr.parameters import NUM_DRAWS, Parameters, Rule, parameters_of

Probability = Annotated[float, Interval(ge=0, le=1)]

_TILE = 65536
"""Pixels of a plane that are worked on at once on a CPU: few enough to stay in cache, enough that the calls
themselves do not count. Measured at 32 and 224 pixels."""


class TwoCrops:
    """SimCLR's augmentation policy. Every view is drawn by itself, from numbers that follow from its sample's key.

    In this order: crop and resize; mirror; colour jitter (brightness, contrast, saturation, hue in an order drawn
    per view); grayscale; blur. Views are in [0, 1] and not normalised, as in the paper's code.

    Images in colour are expected. For others set `jitter_probability = 0` and `grayscale_probability = 0`.

    Source: SimCLR, appendix A; CIFAR-10: strength 0.5 and no blur, appendix B.9.

    Args:
        image_size: Side S of a view, pixels.
        area: Least and greatest area of a crop, as fractions of the image.
        aspect: Least and greatest width / height of a crop.
        coverage: A crop of less than this fraction of the image is drawn again.
        flip_probability: Of mirroring left to right.
        colour_strength: s in the paper: scales all four ranges of the colour jitter.
        jitter_probability: Of the colour jitter.
        grayscale_probability: Of dropping colour.
        blur_probability: Of Gaussian blur; its kernel is a tenth of `image_size`, so below 20 pixels there is none.
        blur_sigma: Least and greatest standard deviation of the blur, pixels.
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
        area: tuple[float, float] = (0.08, 1.0),
        aspect: tuple[float, float] = (3 / 4, 4 / 3),
        coverage: Probability = 0.1,
        flip_probability: Probability = 0.5,
        colour_strength: Annotated[float, Interval(ge=0, le=1.5)] = 1.0,
        jitter_probability: Probability = 0.8,
        grayscale_probability: Probability = 0.2,
        blur_probability: Probability = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        crop_on: Literal["worker", "device"] = "worker",
        backend: Literal["fused", "kornia"] = "fused",
        num_views: Annotated[int, Ge(1)] = 2,
    ) -> None:
        for name, (low, high), most in (
            ("area", area, 1.0),
            ("aspect", aspect, float("inf")),
            ("blur_sigma", blur_sigma, float("inf")),
        ):
            if not 0 < low <= high <= most:
                limit = f"at most {most:g}" if most < float("inf") else "finite"
                raise DataError(f"simclr.two_crops: {name} must rise from above 0 and be {limit}: got {low}, {high}")
        _check_coverage(area, coverage)
        self.num_views = num_views
        self.image_size = image_size
        self.whole_images = crop_on == "device"
        self._crop = CropRule(area, aspect, coverage)
        self._rule = Rule(
            flip_probability,
            colour_strength,
            jitter_probability if colour_strength > 0 else 0.0,
            grayscale_probability,
            blur_probability,
            blur_sigma,
        )
        self._radius = image_size // 10 // 2  # source: `data_util.random_blur` of the paper's code
        # kornia takes seconds to import, so only who asks for it waits.
        home = "kornia_backend" if backend == "kornia" else "fused"
        self._operations: Operations = import_module(f"sslkit_simclr.operations.{home}").OPERATIONS

    def draw(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
        """Return the uniform numbers of every view, float32 [B, V, K], from one key per sample, uint64 [B]."""
        return uniforms(keys, self.num_views, NUM_DRAWS)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor]:
        """Return the crops of one image, or the image itself when crops are made on the device.

        Args:
            image: PIL, or uint8 [C, H, W].
            draws: float32 [V, K].

        Returns:
            One tensor, uint8 [V, C, S, S] (or [1, C, H, W]). Mirroring is left to `apply`.
        """
        if self.whole_images:
            return (_as_tensor(image).unsqueeze(0),)
        height, width = image.shape[1:] if isinstance(image, Tensor) else (image.height, image.width)
        boxes = crop_boxes(draws, height, width, self._crop)
        rows = np.stack(boxes, axis=1).astype(np.int64)
        return (torch.stack([_resized(image, row, self.image_size) for row in rows.tolist()]),)

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
        self._check_channels(channels)
        # View by view, so that the views of the batch lie one after the other.
        count = self.num_views * batch_size
        per_view = images.transpose(0, 1).expand(self.num_views, -1, -1, -1, -1)
        sources = per_view.reshape(count, channels, height, width)
        numbers = draws.transpose(0, 1).reshape(count, -1)
        views = torch.empty(count, channels, self.image_size, self.image_size, device=images.device)
        on_cpu = images.device.type == "cpu"
        tile = max(1, _TILE // self.image_size**2) if on_cpu else count
        with torch.autocast(images.device.type, enabled=False), one_thread() if on_cpu else nullcontext():
            parameters = parameters_of(numbers, self._rule)
            boxes = crop_boxes(numbers, height, width, self._crop) if self.whole_images else None
            for start in range(0, count, tile):
                part = slice(start, start + tile)
                mine = parameters[part]
                if boxes is None:
                    pixels = self._flipped(sources[part], mine).float().div_(255)
                else:
                    box = Boxes(*(edge[part] for edge in boxes))
                    pixels = crop_and_resize(sources[part], box, self.image_size, mine.flipped)
                views[part] = self._recoloured(pixels, mine).clamp_(0, 1)
        return list(views.view(self.num_views, batch_size, *views.shape[1:]).unbind())

    def _flipped(self, pixels: Tensor, parameters: Parameters) -> Tensor:
        return self._operations.flip(pixels, parameters.flipped) if self._rule.flip_probability > 0 else pixels

    def _recoloured(self, pixels: Tensor, parameters: Parameters) -> Tensor:
        if self._rule.jitter_probability > 0:
            pixels = self._operations.jitter(pixels, parameters.jitter)
        if self._rule.grayscale_probability > 0:
            pixels = self._operations.grayscale(pixels, parameters.gray)
        if self._rule.blur_probability > 0 and self._radius > 0:
            pixels = self._operations.blur(pixels, parameters.sigma, parameters.blurred, self._radius)
        return pixels

    def _check_channels(self, channels: int) -> None:
        if channels != 3 and (self._rule.jitter_probability > 0 or self._rule.grayscale_probability > 0):
            raise DataError(
                f"simclr.two_crops: images have {channels} channels, colour operations need 3; "
                "set jitter_probability = 0 (or colour_strength = 0) and grayscale_probability = 0"
            )


def _check_coverage(area: tuple[float, float], coverage: float) -> None:
    low, high = area
    if coverage <= low:
        return
    refused = 1.0 if low == high else (coverage**0.5 - low**0.5) / (high**0.5 - low**0.5)
    if refused > 0.25:  # below it, all attempts fail in fewer than 2 of 100 000 boxes
        raise DataError(
            f"simclr.two_crops: coverage = {coverage} refuses {min(refused, 1):.0%} of crops of area = {low}, {high}, "
            f"and after {ATTEMPTS} attempts the whole image is taken; set coverage = {low}"
        )


def _resized(image: Any, box: Sequence[int], size: int) -> Tensor:
    """Return a box (top, left, height, width) of an image as uint8 [C, size, size]: bicubic, antialiased."""
    top, left, height, width = box
    if isinstance(image, Tensor):
        pixels = image[:, top : top + height, left : left + width].unsqueeze(0).float()
        resized = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True, align_corners=False)
        return resized[0].round_().clamp_(0, 255).to(torch.uint8)
    # Cropped first, because Pillow's own `box` would let pixels beyond the box's edge in.
    crop = image.crop((left, top, left + width, top + height))
    return _as_tensor(crop.resize((size, size), Image.Resampling.BICUBIC))


def _as_tensor(image: Any) -> Tensor:
    """Return a PIL image or uint8 [C, H, W] as uint8 [C, H, W]."""
    if isinstance(image, Tensor):
        return image
    pixels = torch.from_numpy(np.array(image))  # a copy: Pillow's own memory must not be written to
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
