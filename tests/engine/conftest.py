from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sslkit import JointEmbedding, Shapes
from sslkit.builtin.optimizers.sgd import sgd

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # toy_plugin is a module of the tests as well as a plugin file

import toy_plugin  # noqa: E402
from toy_recipe import RECIPE  # noqa: E402

torch.set_num_threads(1)  # the tensors here are tiny: more threads would only wait for each other


@pytest.fixture
def toy():
    """Everything a pretraining from Python needs, the same every time it is asked for."""

    def make(*, dropout=0.0):
        torch.manual_seed(0)
        backbone = toy_plugin.Pooled(dropout=dropout)
        method = JointEmbedding(backbone, toy_plugin.LinearHead(8), toy_plugin.Agreement())
        data = Shapes(image_size=16, num_train=70, num_validation=20, num_test=41)
        return SimpleNamespace(
            method=method,
            data=data,
            views=toy_plugin.Brightness(),
            optimizer=sgd,
            settings={"epochs": 3, "batch_size": 16, "learning_rate": 0.1, "weight_decay": 1e-4, "workers": 0},
        )

    return make


@pytest.fixture
def recipe_file(tmp_path):
    """A recipe on disk; extra lines are put in front of its first table."""

    def write(extra="", name="toy.toml"):
        path = tmp_path / name
        path.write_text(RECIPE + extra)
        return path

    return write
