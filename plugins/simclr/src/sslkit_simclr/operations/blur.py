"""Gaussian blur.

Enters: images, and a standard deviation for each. Leaves: images. Called through `policy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit_simclr.operations.operation import among
from sslkit_simclr.operations.tiles import alone

Border = Literal["black", "mirror"]

_NEGLIGIBLE = 1e-7  # weight of a pixel that a float32 sum in [0, 1] hardly notices


class Blurred(NamedTuple):
    """bool [N]: which images are blurred; float [N]: standard deviation, pixels."""

    chosen: Tensor
    sigma: Tensor


def gaussian_blur(images: Tensor, parameters: Blurred, radius: int, border: Border) -> Tensor:
    """Blur the chosen images with a Gaussian of 2 * radius + 1 taps a side.

    Images that are not chosen get a kernel that changes nothing, so shapes never depend on the draws.

    Args:
        images: float32 [N, C, S, S].
        parameters: Tensors [N].
        radius: Pixels on either side of the centre.
        border: What lies outside the image: `black`, as in `data_util.gaussian_blur` of the paper's code (padding
            SAME), or its `mirror` image without the edge itself, as in torchvision.
    """
    half = half_kernels(parameters.sigma, parameters.chosen, radius)
    if alone(images):
        half = half[:, : int((half.numpy() > _NEGLIGIBLE).any(0).sum())]
    # On a CPU the few passes of shifted sums are twice as fast as a product with banded matrices; on an
    # accelerator each pass would be a kernel over the whole batch.
    blur = blur_by_shifts if images.device.type == "cpu" else blur_by_matrices
    return blur(images, half, border)


def half_kernels(sigma: Tensor, chosen: Tensor, radius: int) -> Tensor:
    """Return the weights at distance 0 to `radius`, [N, radius + 1]; a whole kernel sums to 1."""
    distance = torch.arange(radius + 1, dtype=sigma.dtype, device=sigma.device)
    weights = torch.exp(-distance.square() / (2 * sigma.square()).view(-1, 1))
    weights = weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])
    return torch.where(chosen.view(-1, 1), weights, (distance == 0).to(weights.dtype))


def blur_by_shifts(images: Tensor, half: Tensor, border: Border) -> Tensor:
    """Return the images [N, C, S, S] under the kernels [N, radius + 1], as sums of shifted copies."""
    radius, size = half.shape[1] - 1, images.shape[-1]
    if radius == 0:
        return images
    weights = half.view(*half.shape, 1, 1, 1)
    mode = "constant" if border == "black" else "reflect"
    for axis, margins in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        padded = F.pad(images, margins, mode=mode)
        images = padded.narrow(axis, radius, size) * weights[:, 0]
        for shift in range(1, radius + 1):
            images.addcmul_(padded.narrow(axis, radius - shift, size), weights[:, shift])
            images.addcmul_(padded.narrow(axis, radius + shift, size), weights[:, shift])
    return images


def blur_by_matrices(images: Tensor, half: Tensor, border: Border) -> Tensor:
    """Return what `blur_by_shifts` returns, as products with a matrix [S, S] on either side."""
    num_images, channels, size, _ = images.shape
    radius = half.shape[1] - 1
    place = torch.arange(size, device=images.device)
    padded = torch.cat([half, torch.zeros_like(half[:, :1])], dim=1)

    def weights_from(source: Tensor) -> Tensor:
        """Return the weight of each pixel's image at `source` [S] in each output pixel, [N, S, S]."""
        apart = (source.view(-1, 1) - place).abs().clamp(max=radius + 1)
        return padded[:, apart.view(-1)].view(num_images, size, size)

    band = weights_from(place)
    if border == "mirror":  # the edge itself has no image
        inner = ((place > 0).view(-1, 1), (place < size - 1).view(-1, 1))
        band = band + weights_from(-place) * inner[0] + weights_from(2 * (size - 1) - place) * inner[1]
    along = torch.bmm(images.reshape(num_images, channels * size, size), band)
    return torch.matmul(band.transpose(1, 2).unsqueeze(1), along.view(images.shape))


@dataclass(frozen=True)
class Blur:
    """Gaussian blur with a uniform standard deviation. Source: SimCLR, appendix A."""

    probability: float
    sigma: tuple[float, float]
    radius: int
    border: Border
    pixels: Callable[[Tensor, Blurred, int, Border], Tensor]
    name: ClassVar[str] = "blur"
    needs_colour: ClassVar[bool] = False

    def parameters(self, draws: Tensor) -> Blurred:
        """Return which images are blurred and how, from draws [N, 2]."""
        return Blurred(draws[:, 0] < self.probability, among(draws[:, 1], self.sigma))

    def __call__(self, images: Tensor, parameters: Blurred) -> Tensor:
        """Blur the chosen images."""
        return self.pixels(images, parameters, self.radius, self.border)

    def describe(self, parameters: Blurred, view: int) -> dict[str, str]:
        """Say the standard deviation of a view's blur."""
        return {"blur": f"sigma {parameters.sigma[view]:.2f}" if parameters.chosen[view] else "no"}
