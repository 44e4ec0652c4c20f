"""The views of a CUDA device are those of the CPU, from the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.one_branch import OneBranch

from sslkit import sample_keys

pytestmark = pytest.mark.gpu

OPERATIONS = ("crop", "cutout", "colour", "sobel", "noise", "blur", "rotate")
TOLERANCE = 2e-5


def smooth_images(count, height, width):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8)


def inputs(views, images, epoch=0):
    """Return what the loader hands over: prepared images and draws."""
    draws = views.draw(sample_keys(0, epoch, np.arange(len(images))))
    groups = [torch.stack(group) for group in zip(*map(views.prepare, images, draws), strict=True)]
    return groups, torch.from_numpy(draws)


def on_both(views, images, epoch=0):
    """Return the views of the CPU and of the device, on the CPU."""
    groups, draws = inputs(views, images, epoch)
    on_device = views.apply([group.cuda() for group in groups], draws.cuda())
    return views.apply(groups, draws), [view.cpu() for view in on_device]


def require_close(found, expected, tolerance=TOLERANCE):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize(("size", "height", "width"), [(32, 32, 32), (96, 120, 100), (224, 240, 260)])
def test_fused_views_are_those_of_the_cpu(size, height, width, crop_on, semantics):
    views = TwoCrops(image_size=size, crop_on=crop_on, semantics=semantics)
    expected, found = on_both(views, smooth_images(24, height, width))
    require_close(found, expected)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_kornias_views_are_the_fused_ones_on_the_device(crop_on, semantics):
    options = {"image_size": 64, "crop_on": crop_on, "semantics": semantics}
    images = smooth_images(48, 80, 72)
    fused, kornia = (TwoCrops(backend=backend, **options) for backend in ("fused", "kornia"))
    groups, draws = inputs(fused, images)
    on_device = [group.cuda() for group in groups], draws.cuda()
    require_close(kornia.apply(*on_device), fused.apply(*on_device))


@pytest.mark.parametrize("backend", ["fused", "kornia"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_of_figure_5_is_that_of_the_cpu(operation, crop_on, backend):
    views = OneBranch(operations=[operation], image_size=64, crop_on=crop_on, backend=backend)
    expected, found = on_both(views, smooth_images(24, 80, 72))
    require_close(found, expected)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("first", OPERATIONS)
def test_pairs_of_operations_too(first):
    others = [name for name in OPERATIONS if name != first]
    for second in others:
        views = OneBranch(operations=[first, second], image_size=32)
        require_close(*reversed(on_both(views, smooth_images(8, 40, 36))), tolerance=5e-5)


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
def test_compiled_views_are_the_same(semantics):
    options = {"image_size": 32, "crop_on": "device", "semantics": semantics}
    compiled, eager = TwoCrops(**options), TwoCrops(**options)
    compiled.compile()
    images = smooth_images(32, 32, 32)
    for epoch in range(2):
        groups, draws = inputs(eager, images, epoch)
        on_device = [group.cuda() for group in groups], draws.cuda()
        require_close(compiled.apply(*on_device), eager.apply(*on_device))


def test_an_autocast_around_the_views_changes_no_pixel():
    views = TwoCrops(image_size=64, crop_on="device")
    groups, draws = inputs(views, smooth_images(16, 64, 64))
    on_device = [group.cuda() for group in groups], draws.cuda()
    plain = views.apply(*on_device)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        half = views.apply(*on_device)
    assert all(torch.equal(one, other) for one, other in zip(plain, half, strict=True))
