"""The law of the crop's box: against literal transcriptions of both laws, and its distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from crop_samples import numbers
from torchvision.transforms import RandomResizedCrop

from sslkit.builtin.views import crop
from sslkit.builtin.views.crop import ATTEMPTS, NUM_DRAWS, CropRule

RULES = {
    "default": ((0.08, 1.0), (3 / 4, 4 / 3), 0.1),
    "narrow": ((0.3, 0.4), (0.5, 2.0), 0.0),
    "whole": ((1.0, 1.0), (1.0, 1.0), 0.1),
}
SIZES = [(32, 32), (375, 500), (500, 100), (20, 300), (300, 20), (1, 1), (7, 64)]


def rule_of(semantics, name="default"):
    return CropRule(*RULES[name], semantics)


def literal_paper(draws, height, width, rule):
    """TensorFlow's `GenerateRandomCrop` and its caller, one box at a time."""
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


def literal_torchvision(draws, height, width, rule):
    """torchvision's `RandomResizedCrop.get_params`, fed with our numbers."""
    for attempt in range(ATTEMPTS):
        area = height * width * (rule.area[0] + (rule.area[1] - rule.area[0]) * draws[ATTEMPTS + attempt])
        low, high = (math.log(bound) for bound in rule.aspect)
        aspect = math.exp(low + (high - low) * draws[attempt])
        across, side = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < side <= height:
            top = int(draws[2 * ATTEMPTS] * (height - side + 1))
            return (top, int(draws[2 * ATTEMPTS + 1] * (width - across + 1)), side, across)
    side, across = height, width
    if width / height < rule.aspect[0]:
        side = round(width / rule.aspect[0])
    elif width / height > rule.aspect[1]:
        across = round(height * rule.aspect[1])
    return ((height - side) // 2, (width - across) // 2, side, across)


LITERAL = {"paper": literal_paper, "torchvision": literal_torchvision}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("semantics", LITERAL)
def test_boxes_equal_the_literal_law_in_numpy_and_torch(semantics, name, size):
    draws = numbers(300, NUM_DRAWS)
    rule = rule_of(semantics, name)
    boxes = np.stack(crop.crop_boxes(draws, *size, rule), axis=1)
    expected = np.array([LITERAL[semantics](row, *size, rule) for row in draws.astype(float).tolist()])
    np.testing.assert_array_equal(boxes, expected)
    on_device = torch.stack(crop.crop_boxes(torch.from_numpy(draws), *size, rule), dim=1)
    np.testing.assert_array_equal(on_device.numpy(), expected)


def areas(semantics, height, width, count=40_000):
    boxes = crop.crop_boxes(numbers(count, NUM_DRAWS), height, width, rule_of(semantics))
    return boxes.height * boxes.width / (height * width)


@pytest.mark.parametrize(
    ("semantics", "size", "mean", "median"),  # 100 000 boxes of TensorFlow's and of torchvision's function
    [
        ("paper", (32, 32), 0.431, 0.391),
        ("paper", (375, 500), 0.388, 0.354),
        ("torchvision", (32, 32), 0.489, 0.488),
        ("torchvision", (375, 500), 0.432, 0.419),
    ],
)
def test_mean_and_median_area(semantics, size, mean, median):
    area = areas(semantics, *size)
    assert area.mean() == pytest.approx(mean, abs=0.005)
    # Areas are few at 32 pixels, so the share of boxes up to the median is steadier than the median itself.
    assert (area < median + 0.0005).mean() == pytest.approx(0.5, abs=0.01)
    assert area.min() >= (0.1 if semantics == "paper" else 0.075)


@pytest.mark.parametrize("size", [(32, 32), (375, 500), (20, 300)])
def test_areas_and_aspects_are_distributed_as_torchvisions(size):
    image = torch.empty(3, *size)
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    torch.set_rng_state(generator_state)
    ours = np.stack(crop.crop_boxes(numbers(40_000, NUM_DRAWS), *size, rule_of("torchvision")), axis=1)
    top, left, height, width = (np.sort(edges) for edges in theirs.T)
    for edge, reference in enumerate((top, left, height, width)):
        own = np.sort(ours[:, edge])
        grid = np.unique(reference)
        gap = np.searchsorted(own, grid, "right") / len(own) - np.searchsorted(reference, grid, "right") / 4000
        assert abs(gap).max() < 0.03  # two samples of one law are farther apart once in 600 times, for one edge


@pytest.mark.parametrize("semantics", LITERAL)
def test_boxes_stay_inside_and_reach_every_edge(semantics):
    top, left, height, width = crop.crop_boxes(numbers(20_000, NUM_DRAWS), 40, 60, rule_of(semantics))
    assert top.min() == 0
    assert left.min() == 0
    assert (top + height).max() == 40
    assert (left + width).max() == 60
    free = height < 40
    assert (top / np.maximum(40 - height, 1))[free].mean() == pytest.approx(0.5, abs=0.01)


def test_numbers_that_always_fail_give_the_whole_image():
    draws = np.zeros((1, NUM_DRAWS), dtype=np.float32)  # the smallest side each time: below the coverage
    boxes = crop.crop_boxes(draws, 100, 100, rule_of("paper"))
    assert [int(edge[0]) for edge in boxes] == [0, 0, 100, 100]


def test_an_extreme_image_is_taken_whole_by_the_paper_and_in_its_middle_by_torchvision():
    draws = numbers(2000, NUM_DRAWS)
    for height, width in ((20, 300), (300, 20)):
        whole = np.stack(crop.crop_boxes(draws, height, width, rule_of("paper")), axis=1)
        assert (whole == (0, 0, height, width)).all()
    central = np.stack(crop.crop_boxes(draws, 20, 300, rule_of("torchvision")), axis=1)
    assert (central == (0, 136, 20, 27)).all(1).mean() > 0.8
    assert (central[:, 2] * central[:, 3] < 0.1 * 20 * 300).all()


def test_coverage_is_the_papers_alone():
    low = [areas(semantics, 100, 100).min() for semantics in ("paper", "torchvision")]
    assert low[0] >= 0.1 > 0.085 > low[1]


def test_boxes_are_said_in_words():
    boxes = crop.Boxes(*(np.array([edge]) for edge in (1.0, 2.0, 30.0, 40.0)))
    assert boxes.in_words(0) == "40 x 30 at (2, 1)"
