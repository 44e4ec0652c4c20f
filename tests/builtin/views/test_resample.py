"""Resampling: against torch on the slice, Pillow and torchvision, in the worker and on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from crop_samples import close, numbers, smooth_images
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from sslkit.builtin.views import resample
from sslkit.builtin.views.crop import NUM_DRAWS, Boxes, CropRule, crop_boxes

RULE = CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1)
KERNELS = ["bicubic", "bilinear"]
SHAPES = [(32, 32, 32), (40, 24, 32), (100, 130, 24), (9, 20, 48)]


def noisy_images(height, width, count=24, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_resampling_equals_torch_on_the_slice(height, width, size, interpolation):
    images = noisy_images(height, width)
    boxes = crop_boxes(torch.from_numpy(numbers(24, NUM_DRAWS)), height, width, RULE)
    flipped = torch.arange(24) % 3 == 0
    crops = resample.crop_and_resize(images, boxes, size, flipped, interpolation)
    for number, crop in enumerate(crops):
        top, left, tall, wide = (int(edge[number]) for edge in boxes)
        piece = images[number : number + 1, :, top : top + tall, left : left + wide].double() / 255
        expected = F.interpolate(piece, (size, size), mode=interpolation, antialias=True)[0].clamp(0, 1)
        close(crop.double(), expected.flip(-1) if flipped[number] else expected)
    again = resample.crop_and_resize(images.float() / 255, boxes, size, flipped, interpolation)
    close(again, crops, 1e-6)


def test_pixels_outside_the_box_have_no_influence():
    images = noisy_images(40, 50, count=2)
    boxes = Boxes(*(torch.full((2,), float(edge), dtype=torch.float64) for edge in (7, 11, 20, 30)))
    images[1] = images[0]
    outside = torch.ones(40, 50, dtype=torch.bool)
    outside[7:27, 11:41] = False
    images[1, :, outside] = 255 - images[1, :, outside]
    first, second = resample.crop_and_resize(images, boxes, 16, torch.zeros(2, dtype=torch.bool))
    assert torch.equal(first, second)


def test_whole_image_at_its_own_size_is_the_image():
    images = noisy_images(16, 16, count=2)
    whole = Boxes(*(torch.full((2,), float(edge), dtype=torch.float64) for edge in (0, 0, 16, 16)))
    boxes = crop_boxes(torch.zeros(2, NUM_DRAWS), 16, 16, CropRule((1.0, 1.0), (1.0, 1.0), 0.0))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(boxes, whole, strict=True))
    for interpolation in KERNELS:
        crops = resample.crop_and_resize(images, boxes, 16, torch.tensor([False, True]), interpolation)
        close(crops, torch.stack([images[0], images[1].flip(-1)]) / 255, 1e-6)


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_worker_crops_equal_pillows_and_torchvisions(height, width, size, interpolation):
    pixels = noisy_images(height, width, count=1)[0]
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    boxes = crop_boxes(numbers(12, NUM_DRAWS), height, width, RULE)
    crops = resample.crops_of(picture, boxes, size, interpolation)
    assert torch.equal(crops, resample.crops_of(pixels, boxes, size, interpolation))
    mode = InterpolationMode(interpolation)
    for crop, (top, left, tall, wide) in zip(crops, np.stack(boxes, axis=1).astype(int).tolist(), strict=True):
        cut = picture.crop((left, top, left + wide, top + tall))
        theirs = torch.from_numpy(np.array(cut.resize((size, size), Image.Resampling[interpolation.upper()])))
        assert (crop.int() - theirs.permute(2, 0, 1).int()).abs().max() <= 2
        theirs = tv.resized_crop(pixels, top, left, tall, wide, [size, size], mode, antialias=True)
        assert (crop.int() - theirs.int()).abs().max() <= 2


@pytest.mark.parametrize("interpolation", KERNELS)
def test_worker_and_device_agree_up_to_rounding(interpolation):
    # Not on noise: between the axes whole levels are also clipped, where bicubic overshoots.
    images = smooth_images(8, 40, 50)
    draws = numbers(8, NUM_DRAWS)
    boxes = crop_boxes(torch.from_numpy(draws), 40, 50, RULE)
    device = resample.crop_and_resize(images, boxes, 32, torch.zeros(8, dtype=torch.bool), interpolation)
    for image, row, theirs in zip(images, draws, device, strict=True):
        worker = resample.crops_of(image, crop_boxes(row[None], 40, 50, RULE), 32, interpolation)[0]
        assert (worker / 255 - theirs).abs().max() < 2.01 / 255  # rounded after either axis


def test_grey_pictures_and_any_number_of_channels():
    picture = Image.fromarray(noisy_images(20, 20, count=1, channels=1)[0, 0].numpy())
    boxes = crop_boxes(numbers(3, NUM_DRAWS), 20, 20, RULE)
    assert resample.crops_of(picture, boxes, 8, "bicubic").shape == (3, 1, 8, 8)
    assert resample.crops_of(noisy_images(20, 20, count=1, channels=13)[0], boxes, 8, "bicubic").shape == (3, 13, 8, 8)
