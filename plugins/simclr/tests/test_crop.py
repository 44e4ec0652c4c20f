"""The crop: its law against a literal transcription, its resampling against torch's, its mean area."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sslkit_simclr.operations.crop import ATTEMPTS, NUM_DRAWS, CropRule, crop_and_resize, crop_boxes

from sslkit import sample_keys, uniforms

RULE = CropRule(area=(0.08, 1.0), aspect=(3 / 4, 4 / 3), coverage=0.1)


def numbers(count, seed=0):
    return uniforms(sample_keys(seed, 0, np.arange(count)), 1, NUM_DRAWS)[:, 0]


def literal_box(draws, height, width, rule):
    """TensorFlow's `GenerateRandomCrop` and its caller, one box at a time."""
    draws = [float(number) for number in draws]
    least, greatest = rule.area[0] * height * width, rule.area[1] * height * width
    chosen = (height, width)
    for attempt in range(ATTEMPTS):
        aspect = rule.aspect[0] + (rule.aspect[1] - rule.aspect[0]) * draws[attempt]
        side, tallest = round(math.sqrt(least / aspect)), round(math.sqrt(greatest / aspect))
        if round(tallest * aspect) > width:
            tallest = int((width + 0.5 - 1e-7) / aspect)
        tallest = min(tallest, height)
        side = min(side, tallest)
        side += int(draws[ATTEMPTS + attempt] * (tallest - side + 1))
        if side * round(side * aspect) < least:
            side += 1
        if side * round(side * aspect) > greatest:
            side -= 1
        across = round(side * aspect)
        area = side * across
        fits = 0 < across <= width and 0 < side <= height
        if fits and least <= area <= greatest and area >= rule.coverage * height * width:
            chosen = (side, across)
            break
    top = int(draws[2 * ATTEMPTS] * (height - chosen[0] + 1))
    left = int(draws[2 * ATTEMPTS + 1] * (width - chosen[1] + 1))
    return (top, left, *chosen)


@pytest.mark.parametrize("size", [(32, 32), (375, 500), (500, 100), (1, 1), (7, 64)])
@pytest.mark.parametrize("rule", [RULE, CropRule((0.3, 0.4), (0.5, 2.0), 0.0), CropRule((1.0, 1.0), (1.0, 1.0), 0.1)])
def test_boxes_equal_the_literal_law_in_numpy_and_torch(size, rule):
    draws = numbers(400)
    boxes = np.stack(crop_boxes(draws, *size, rule), axis=1)
    expected = np.array([literal_box(row, *size, rule) for row in draws])
    np.testing.assert_array_equal(boxes, expected)
    on_device = torch.stack(crop_boxes(torch.from_numpy(draws), *size, rule), dim=1)
    np.testing.assert_array_equal(on_device.numpy(), expected)


@pytest.mark.parametrize(
    ("size", "mean", "median"),
    [((32, 32), 0.431, 0.391), ((375, 500), 0.388, 0.354)],  # 100 000 boxes of the paper's TensorFlow op
)
def test_mean_area_is_the_papers(size, mean, median):
    _, _, height, width = crop_boxes(numbers(40_000), *size, RULE)
    area = height * width / (size[0] * size[1])
    assert area.mean() == pytest.approx(mean, abs=0.005)
    # Areas are few at 32 pixels, so the share of boxes up to the median is steadier than the median itself.
    assert (area <= median + 0.0005).mean() == pytest.approx(0.5, abs=0.01)
    assert area.min() >= 0.1


def test_boxes_stay_inside_and_reach_every_edge():
    top, left, height, width = crop_boxes(numbers(20_000), 40, 60, RULE)
    assert top.min() == 0
    assert left.min() == 0
    assert (top + height).max() == 40
    assert (left + width).max() == 60
    free = height < 40
    assert (top / np.maximum(40 - height, 1))[free].mean() == pytest.approx(0.5, abs=0.01)


def test_numbers_that_always_fail_give_the_whole_image():
    draws = np.zeros((1, NUM_DRAWS), dtype=np.float32)  # the smallest side each time: below the coverage
    assert [int(edge[0]) for edge in crop_boxes(draws, 100, 100, RULE)] == [0, 0, 100, 100]


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (40, 24, 32), (100, 130, 24), (9, 20, 48)])
def test_resampling_equals_torch_on_the_slice(height, width, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, height, width), generator=generator, dtype=torch.uint8)
    boxes = crop_boxes(torch.from_numpy(numbers(24)), height, width, RULE)
    flipped = torch.arange(24) % 3 == 0
    crops = crop_and_resize(images, boxes, size, flipped)
    for number, crop in enumerate(crops):
        top, left, tall, wide = (int(edge[number]) for edge in boxes)
        piece = images[number : number + 1, :, top : top + tall, left : left + wide].double() / 255
        expected = F.interpolate(piece, (size, size), mode="bicubic", antialias=True)[0].clamp(0, 1)
        if flipped[number]:
            expected = expected.flip(-1)
        torch.testing.assert_close(crop.double(), expected, rtol=0, atol=1e-5)


def test_whole_image_at_its_own_size_is_the_image():
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    edges = [torch.full((2,), float(edge), dtype=torch.float64) for edge in (0, 0, 16, 16)]
    boxes = crop_boxes(torch.zeros(2, NUM_DRAWS), 16, 16, CropRule((1.0, 1.0), (1.0, 1.0), 0.0))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(boxes, edges, strict=True))
    crops = crop_and_resize(images, boxes, 16, torch.tensor([False, True]))
    torch.testing.assert_close(crops[0], images[0] / 255, rtol=0, atol=1e-6)
    torch.testing.assert_close(crops[1], images[1].flip(-1) / 255, rtol=0, atol=1e-6)
