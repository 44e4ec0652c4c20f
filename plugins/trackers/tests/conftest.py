"""A small run that trackers watch: drawn images, four steps, one evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sslkit import load_recipe, run

torch.set_num_threads(1)

RECIPE = """
schema = 1
name = "watched"

[pretrain]
epochs = 2
batch_size = 32
data = { name = "builtin.shapes", image_size = 16, num_train = 64, num_validation = 20, num_test = 20 }
views = { name = "builtin.crop_flip", image_size = 16, num_views = 2, crop_on = "device" }
backbone = { name = "builtin.timm", model = "test_resnet" }
head = { name = "builtin.classifier" }
objective = { name = "builtin.cross_entropy" }
optimizer = { name = "builtin.sgd", learning_rate = 0.1 }
callbacks = [CALLBACKS]

[[evaluate]]
name = "builtin.knn"
"""


@pytest.fixture
def watched(tmp_path):
    """Return a function that runs the recipe with callbacks, and returns the run's folder."""

    def watch(*tables: str, plugins: str = "") -> Path:
        text = RECIPE.replace("CALLBACKS", ", ".join(tables))
        path = tmp_path / "watched.toml"
        path.write_text(f"plugins = [{plugins}]\n{text}", encoding="utf-8")
        folder = tmp_path / "run"
        run(load_recipe(path), into=folder, device="cpu")
        return folder

    return watch
