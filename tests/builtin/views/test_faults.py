"""Tests of the tests: a deliberate fault in the crop turns the test red that should notice it."""

from __future__ import annotations

from functools import partial

import pytest
import test_crop
import test_resample
from planted_faults import named, require_noticed

from sslkit.builtin.views import crop, resample

BOXES = {
    semantics: partial(test_crop.test_boxes_equal_the_literal_law_in_numpy_and_torch, semantics, "default", (375, 500))
    for semantics in ("paper", "torchvision")
}
EXTREME = partial(test_crop.test_an_extreme_image_is_taken_whole_by_the_paper_and_in_its_middle_by_torchvision)
SLICES = {
    kernel: partial(test_resample.test_resampling_equals_torch_on_the_slice, 40, 24, 32, kernel)
    for kernel in ("bicubic", "bilinear")
}
SMALLER = partial(test_resample.test_resampling_equals_torch_on_the_slice, 100, 130, 24, "bicubic")
WORKER = partial(test_resample.test_worker_crops_equal_pillows_and_torchvisions, 40, 24, 32, "bilinear")

# Where the fault is, what stands there, what is put in its place, and who must notice.
FAULTS = [
    # The crop's law
    (crop._paper, "sizes * (tallest", "sizes**2 * (tallest", BOXES["paper"]),
    (crop._paper, "rule.aspect[0] + (rule.aspect[1]", "rule.aspect[0] / (rule.aspect[1]", BOXES["paper"]),
    (crop._paper, "rule.coverage * pixels", "0", BOXES["paper"]),
    (crop._paper, "(height, width)", "(width, height)", EXTREME),
    (crop._torchvision, "xp.exp(low + (high - low) * aspects)", "rule.aspect[0] + aspects / 2", BOXES["torchvision"]),
    (crop._torchvision, "* sizes)", "* sizes**2)", BOXES["torchvision"]),
    (crop._torchvision, "height * rule.aspect[1]", "height / rule.aspect[1]", EXTREME),
    (crop.crop_boxes, "(width - box_width + 1)", "(width - box_width)", BOXES["paper"]),
    (crop.crop_boxes, "cumsum(-1) == 1", "cumsum(-1) == 2", BOXES["torchvision"]),
    (crop.crop_boxes, "(height - otherwise[0]) // 2", "0 * height", partial(
        test_crop.test_boxes_equal_the_literal_law_in_numpy_and_torch, "torchvision", "default", (300, 20))),
    # Resampling
    (resample._resampling, "output + 0.5", "output", SLICES["bicubic"]),
    (resample._resampling, "(length / size).clamp(min=1)", "torch.ones_like(length)", SMALLER),
    (resample._resampling, "weights * inside", "weights", SLICES["bilinear"]),
    (resample._bicubic, "0.5 * outer", "0.75 * outer", SLICES["bicubic"]),
    (resample._bilinear, "clamp_(min=0)", "clamp_(min=0).square()", SLICES["bilinear"]),
    (resample.crop_and_resize, "boxes.width, flipped", "boxes.width, ~flipped", SLICES["bicubic"]),
    (resample.crop_and_resize, ".clamp_(0, 1)", "", SLICES["bicubic"]),
    (resample.crops_of, "left + width, top + height)", "left + width - 1, top + height)", WORKER),
    (resample.crops_of, "antialias=True", "antialias=False", partial(
        test_resample.test_worker_crops_equal_pillows_and_torchvisions, 100, 130, 24, "bilinear")),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_fault_turns_a_test_red(fault, monkeypatch):
    require_noticed(fault, monkeypatch)
