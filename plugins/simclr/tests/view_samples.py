"""Samples for the tests of the views: images, keys, what a loader would collate, and a counter of operations."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from sslkit_simclr.operations.colour import Jitter
from sslkit_simclr.operations.distortion import Distorted
from sslkit_simclr.policy import COLUMNS
from torch.utils._python_dispatch import TorchDispatchMode

from sslkit import sample_keys, uniforms

ORDERS = torch.tensor(list(permutations(range(4))))  # rows: the places of brightness, contrast, saturation, hue

SEMANTICS = ["paper", "torchvision"]
EXTRAS = ("rotation", "solarize", "equalize", "motion_blur", "sobel", "noise", "cutout")
EVERYTHING = {f"{name}_probability": 0.5 for name in EXTRAS}

NOTHING = dict.fromkeys(("flip_probability", "jitter_probability", "grayscale_probability", "blur_probability"), 0.0)

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item", "equal", "unique"}
"""Operations that make the host wait for a device, or whose shapes depend on what is on it."""

FROM_HOST = {"lift_fresh"}
"""A constant of Python made into a tensor: on a device, a copy that waits."""


class Counter(TorchDispatchMode):
    """Notes the names of all operations run inside it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


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


def hostile_images(size=6):
    """Black, white, single colours, one bright pixel, nearly grey, few levels, two random: [12, 3, size, size]."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.zeros(3, size, size), torch.ones(3, size, size), torch.full((3, size, size), 0.5)]
    for single in ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.2, 0.9, 0.4), (1.0, 1.0, 0.0)):
        images.append(torch.tensor(single).view(3, 1, 1).expand(3, size, size).clone())
    bright = torch.zeros(3, size, size)
    bright[:, 2, 3] = 1
    nearly_grey = 0.5 + 1e-4 * torch.rand(3, size, size, generator=generator)
    few_levels = torch.randint(0, 3, (3, size, size), generator=generator) / 2
    return torch.stack([*images, bright, nearly_grey, few_levels, *torch.rand(2, 3, size, size, generator=generator)])


def jittered_cases(semantics, size=6):
    """All hostile images in all 24 orders, with parameters drawn at full strength; a third lose their colour."""
    images = hostile_images(size).repeat_interleave(24, dim=0)
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, len(images), generator=generator) * 2 - 1
    brightness = 0.8 * uniform[0] + (semantics == "torchvision")
    jitter = Jitter(ORDERS.repeat(12, 1), brightness, 1 + 0.8 * uniform[1], 1 + 0.8 * uniform[2], 0.2 * uniform[3])
    return images, Distorted(jitter, torch.arange(len(images)) % 3 == 0)


def neutral(count, semantics):
    """A jitter that changes nothing."""
    zero, one = torch.zeros(count), torch.ones(count)
    return Jitter(ORDERS[torch.arange(count) % 24], one if semantics == "torchvision" else zero, one, one, zero)


def prepared(views, images, draws):
    """What the engine's loader collates, with the draws as a tensor."""
    rows = [views.prepare(image, row) for image, row in zip(images, draws, strict=True)]
    return [torch.stack(group) for group in zip(*rows, strict=True)], torch.from_numpy(draws)


def close(ours, theirs, tolerance=1e-5):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def require_pixels(images):
    """Fail unless all values are finite and in [0, 1]."""
    assert torch.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1


def parameters_of(views, draws):
    """The parameters of each operation by its name, from draws [B, V, K]."""
    rows = torch.from_numpy(draws).flatten(0, 1)
    policy = views._policy
    found = dict(zip((part.name for part in policy._operations), policy.parameters(rows), strict=True))
    return found | {"flip": views._flip.parameters(rows[:, COLUMNS["flip"]])}
