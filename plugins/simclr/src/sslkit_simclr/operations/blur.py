"""Gaussian blur.

Enters: images and a standard deviation for each. Leaves: images. Called by `two_crops`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_blur(images: Tensor, sigma: Tensor, chosen: Tensor, radius: int) -> Tensor:
    """Blur the chosen images with a Gaussian of 2 * radius + 1 taps a side; outside the image is black.

    Images that are not chosen get a kernel that changes nothing, so shapes never depend on the draws. The paper's
    code draws one sigma for each device's batch; here every image has its own, because draws are functions of the
    sample alone.

    Source: SimCLR, appendix A; `data_util.gaussian_blur` of the paper's code (padding SAME).

    Args:
        images: float32 [N, C, S, S].
        sigma: float32 [N], standard deviation in pixels, above 0.
        chosen: bool [N].
        radius: Pixels on either side of the centre.
    """
    half = half_kernels(sigma, chosen, radius)
    # On a CPU the few passes of shifted sums are twice as fast as a product with banded matrices; on an
    # accelerator each pass would be a kernel over the whole batch.
    return blur_by_shifts(images, half) if images.device.type == "cpu" else blur_by_matrices(images, half)


def half_kernels(sigma: Tensor, chosen: Tensor, radius: int) -> Tensor:
    """Return the weights at distance 0 to `radius`, [N, radius + 1]; a whole kernel sums to 1."""
    distance = torch.arange(radius + 1, dtype=sigma.dtype, device=sigma.device)
    weights = torch.exp(-distance.square() / (2 * sigma.square()).view(-1, 1))
    weights = weights / (2 * weights.sum(1, keepdim=True) - weights[:, :1])
    return torch.where(chosen.view(-1, 1), weights, (distance == 0).to(weights.dtype))


def blur_by_shifts(images: Tensor, half: Tensor) -> Tensor:
    """Return the images [N, C, S, S] under the kernels [N, radius + 1], as sums of shifted copies."""
    weights = half.view(*half.shape, 1, 1, 1)
    size = images.shape[-1]
    for axis in (-1, -2):
        total = images * weights[:, 0]
        for shift in range(1, min(half.shape[1], size)):
            near, far = images.narrow(axis, 0, size - shift), images.narrow(axis, shift, size - shift)
            total.narrow(axis, shift, size - shift).addcmul_(near, weights[:, shift])
            total.narrow(axis, 0, size - shift).addcmul_(far, weights[:, shift])
        images = total
    return images


def blur_by_matrices(images: Tensor, half: Tensor) -> Tensor:
    """Return what `blur_by_shifts` returns, as products with a banded matrix [S, S] on either side."""
    num_images, channels, size, _ = images.shape
    place = torch.arange(size, device=images.device)
    apart = (place.view(-1, 1) - place).abs().clamp(max=half.shape[1])
    padded = torch.cat([half, torch.zeros_like(half[:, :1])], dim=1)
    band = padded[:, apart.view(-1)].view(num_images, size, size)
    along = torch.bmm(images.reshape(num_images, channels * size, size), band)
    return torch.matmul(band.unsqueeze(1), along.view(images.shape))
