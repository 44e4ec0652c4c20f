"""Every component keeps the promises that the engine relies on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from sslkit import run
from sslkit.testing import plugin_checks

TEACHER = """
schema = 1
name = "teacher"
[pretrain]
epochs = 1
batch_size = 2
data = { name = "builtin.shapes", image_size = 16, num_train = 2, num_validation = 2, num_test = 2 }
views = { name = "builtin.crop_flip", image_size = 16, crop_on = "device" }
backbone = { name = "builtin.timm", model = "test_resnet" }
head = { name = "builtin.classifier" }
objective = { name = "builtin.cross_entropy" }
optimizer = { name = "builtin.sgd", learning_rate = 0.1 }
"""
SMALL = {"image_size": 32, "crop_on": "device"}


FOLDER = tempfile.TemporaryDirectory()  # as long as this process: checks are listed before there are fixtures


def teacher() -> Path:
    """Return the folder of a run with a classifier."""
    recipe = Path(FOLDER.name) / "teacher.toml"
    recipe.write_text(TEACHER)
    return run(recipe, into=recipe.with_suffix(""), device="cpu", workers=0).folder


CHECKS = plugin_checks(
    "simclr",
    options={
        "two_crops": SMALL,
        "multi_crop": {"groups": [{"num_views": 2}, {"num_views": 2, "image_size": 24}], **SMALL},
        "one_branch": {"operations": ["crop", "colour"], **SMALL},
        "resnet": {"model": "test_resnet", "stem": "cifar"},
        "distillation": {"teacher": teacher()},
        "histogram_shortcut": {"image_size": 32},
    },
    recipes={
        "head_spectrum": {
            "evaluate": {"0": {"features": ["z"]}},
            "pretrain": {"head": {"name": "simclr.mlp", "num_layers": 1, "out_dim": 10}},
        }
    },
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check()
