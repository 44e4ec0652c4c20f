"""Samples for the tests of crops: uniform numbers, images, and the comparison of pixels."""

from __future__ import annotations

import numpy as np
import torch

from sslkit import sample_keys, uniforms


def keys(count, epoch=0, seed=0):
    return sample_keys(seed, epoch, np.arange(count))


def numbers(count, num_draws, seed=0):
    """Uniform numbers of one view of each image, float32 [count, num_draws]."""
    return uniforms(keys(count, seed=seed), 1, num_draws)[:, 0]


def smooth_images(count, height, width, channels=3, seed=0):
    """Random images without single-pixel noise: uint8 [count, channels, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8)


def close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
