"""The commands on a machine with a CUDA device, on a run that was trained there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import worlds
from PIL import Image

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def finished(tmp_path_factory, command):
    """The folder of a run that `sslkit run` has trained on the device."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = command("run", worlds.QUICKSTART, *worlds.SHORT, "--into", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_run_takes_the_device_without_being_told(finished):
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["device"] == "cuda"
    assert json.loads((finished / "summary.json").read_text())["status"] == "finished"


@pytest.fixture
def photographs(tmp_path):
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 52, 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def test_embed_gives_the_same_on_both(finished, photographs, command, tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.npz"
        done = command("embed", finished, photographs, "-o", path, "--device", device, "--workers", "0")
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(np.load(path))
    for name in ("h", "z"):
        scale = np.abs(found[0][name]).max()
        assert np.abs(found[0][name] - found[1][name]).max() < 5e-3 * scale  # TF32, torch's default
    assert (found[0]["paths"] == found[1]["paths"]).all()


def test_preview(command, tmp_path):
    done = command("preview", worlds.QUICKSTART, "-o", tmp_path / "views", "--histograms")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "views.png").exists()


def test_doctor_tries_the_device(command):
    done = command("doctor")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert torch.cuda.get_device_name() in done.stdout
    assert "NCCL" in done.stdout


@pytest.mark.parametrize("to", ["timm", "pt2", "onnx", "huggingface-folder"])
def test_export(finished, command, tmp_path, to):
    done = command("export", finished, "--to", to, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert any((tmp_path / "out").rglob("README.md"))


def test_the_evaluate_command(finished, command, tmp_path):
    recipe = tmp_path / "more.toml"
    recipe.write_text(
        'schema = 1\nname = "more"\n[[evaluate]]\nname = "builtin.knn"\nk = 5\n[evaluate.data]\n'
        'name = "builtin.shapes"\nnum_train = 100\nnum_test = 50\n'
    )
    done = command("evaluate", finished, recipe, "--runs", tmp_path / "runs", "--device", "cuda")
    assert done.returncode == 0, done.stderr[-3000:]
    (summary,) = (tmp_path / "runs").rglob("summary.json")
    assert json.loads(summary.read_text())["results"][0]["n"] == 50
