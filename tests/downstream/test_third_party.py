"""A stranger's package: a loss of twenty lines, installed by pip, trains from a recipe."""

import json
import subprocess
import sys

import pytest

from sslkit.__main__ import main

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "sslkit-stranger"
version = "3.1"
[project.entry-points.sslkit]
stranger = "sslkit_stranger.plugin"
[tool.hatch.build.targets.wheel]
packages = ["sslkit_stranger"]
"""
PLUGIN = """
from sslkit import hookimpl

SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.objective("alignment", "sslkit_stranger.alignment:Alignment", summary="pull together, spread out")
"""
LOSS = '''
from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn


class Alignment(nn.Module):
    """Views of one image near, different images far apart.

    Args:
        spread: Weight of the second part.
    """

    def __init__(self, *, spread: Annotated[float, Ge(0)] = 1.0) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, projections):
        first, second = (nn.functional.normalize(projection, dim=1) for projection in projections)
        near = (first - second).square().sum(dim=1).mean()
        far = torch.pdist(first).square().mul(-2).exp().mean().log()
        return near + self.spread * far, {"near": near.detach()}
'''
RECIPE = """
schema = 1
name = "stranger"
requires = ["sslkit-stranger>=3"]
[pretrain]
epochs = 2
batch_size = 16
[pretrain.data]
name = "builtin.shapes"
num_train = 64
num_test = 32
num_validation = 16
[pretrain.views]
name = "simclr.two_crops"
image_size = 16
blur_probability = 0.0
[pretrain.backbone]
name = "builtin.timm"
model = "test_resnet"
[pretrain.head]
name = "simclr.mlp"
out_dim = 8
[pretrain.objective]
name = "stranger.alignment"
spread = 0.5
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.01
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the package and let pip install it into a folder of its own."""
    source = tmp_path_factory.mktemp("source")
    package = source / "sslkit_stranger"
    package.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    for name, text in (("__init__", ""), ("plugin", PLUGIN), ("alignment", LOSS)):
        (package / f"{name}.py").write_text(text)
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    shown = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True)
    if shown.returncode and ("No module named" in shown.stderr or "hatchling" in shown.stderr):
        pytest.skip(f"pip or hatchling is not here: {shown.stderr.strip().splitlines()[-1]}")
    assert shown.returncode == 0, shown.stderr
    return target


def test_it_is_listed_with_its_component(site, command):
    shown = command("plugins", "stranger", paths=[site])
    assert shown.returncode == 0
    assert "sslkit-stranger 3.1" in shown.stdout
    assert "objective  stranger.alignment  pull together, spread out" in shown.stdout


def test_it_trains_from_a_recipe(site, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stranger.toml").write_text(RECIPE)
    arguments = ["run", "stranger.toml", "--into", "out", "--device", "cpu", "--workers", "0"]
    assert main(arguments) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert steps[-1]["step"] == 8
    assert all("near" in line for line in steps)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "finished"
    assert "sslkit-stranger 3.1" in json.loads((tmp_path / "out" / "environment.json").read_text())["plugins"]


def test_without_it_the_recipe_says_what_to_install(tmp_path, capsys):
    path = tmp_path / "stranger.toml"
    path.write_text(RECIPE)
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f'error: {path}:4 requires.0: sslkit-stranger>=3 is not installed: pip install "sslkit-stranger>=3", '
        "or in a clone: pip install -e plugins/stranger",
        f'error: {path}:24 pretrain.objective.name: there is no objective "stranger.alignment": '
        'no plugin "stranger" is installed; see: sslkit plugins',
    ]
