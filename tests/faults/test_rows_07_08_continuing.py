"""Another recipe, another architecture, another version: refused in one line, or read as ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from sslkit import RunError, faults, run
from sslkit.engine.checkpoint import _digest, choose_checkpoint, read_checkpoint, save_checkpoint
from sslkit.engine.trees import flatten

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def begun(recipe_file, tmp_path):
    """A run that was broken off after its first epoch."""
    faults.arm("step.start:raise@5")
    with pytest.raises(RuntimeError, match="on purpose"):
        run(recipe_file(), into=tmp_path / "run")
    faults.disarm()
    return tmp_path / "run"


def test_row_07_another_recipe_is_refused_key_by_key(recipe_file, begun):
    overrides = ["pretrain.backbone.width=9", "seed=1", "pretrain.epochs=3"]
    with pytest.raises(RunError) as caught:
        run(recipe_file(), into=begun, overrides=overrides)
    told = "of another recipe: pretrain.backbone.width was 8, is 9; seed was 0, is 1; undo that, or name another folder"
    assert str(caught.value).endswith(told)


def test_row_07_modules_that_changed_under_the_same_recipe_are_refused_tensor_by_tensor(recipe_file, begun):
    """As after an update of the package that they come from: no recipe shows it."""
    path = begun / "checkpoints" / "step-00000004"
    parts, state = read_checkpoint(path)
    model = parts["model"]
    model["backbone.conv.weight"] = model["backbone.conv.weight"][:, :2]
    model["head.old.weight"] = model.pop("head.layer.weight")
    shutil.rmtree(path)
    save_checkpoint(path.parent, 4, parts, {"identity": state["identity"]})
    with pytest.raises(RunError) as caught:
        run(recipe_file(), into=begun)
    assert str(caught.value) == (
        f"{path} does not fit the model that this recipe builds now: missing: head.layer.weight; unknown: "
        "head.old.weight; of another shape: backbone.conv.weight (is [8, 2, 4, 4], should be [8, 3, 4, 4])"
    )
    assert path.is_dir()


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir() if path.is_dir()))
def test_row_08_a_checkpoint_of_every_format_so_far_is_read(name, tmp_path):
    shutil.copytree(GOLDEN / name, tmp_path / "checkpoints")
    manifest = json.loads((tmp_path / "checkpoints" / "step-00000008" / "MANIFEST.json").read_text())
    assert name == f"format-{manifest['format']}"
    parts, state = read_checkpoint(choose_checkpoint(tmp_path / "checkpoints"))
    weight = torch.arange(6.0).reshape(2, 3) / 4
    expected = {
        "model": {
            "backbone.weight": weight,
            "backbone.norm.num_batches_tracked": torch.tensor(8),
            "head.bias": torch.tensor([0.5, -0.25], dtype=torch.float64),
        },
        "optimizer": {
            "backbone.weight": {"momentum_buffer": weight + 1, "step": torch.tensor(8.0)},
            "head.bias": {"momentum_buffer": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)},
        },
        "callbacks": {
            "0-Counter": {"steps": torch.tensor(8), "losses": [1.5, 0.25], "name": "übung", "on": True, "none": None}
        },
    }
    given, wanted = flatten(parts), flatten(expected)
    assert given[1] == wanted[1]
    for path, tensor in wanted[0].items():
        assert given[0][path].dtype == tensor.dtype
        assert torch.equal(given[0][path], tensor)
    recipe = {"pretrain.batch_size": 16, "pretrain.objective.temperature": 0.5}
    assert state == {"step": 8, "identity": {"recipe": recipe, "data": "abc"}}


def test_row_08_the_format_that_is_written_now_is_among_them(tmp_path):
    save_checkpoint(tmp_path, 1, {}, {})
    written = json.loads((tmp_path / "step-00000001" / "MANIFEST.json").read_text())["format"]
    assert (GOLDEN / f"format-{written}").is_dir()


def test_row_08_a_newer_one_is_refused_in_one_sentence_and_left_alone(tmp_path):
    path = save_checkpoint(tmp_path, 1, {}, {})
    manifest = {"format": 99, "sslkit": "7.1", "what": "nobody knows yet"}
    (path / "MANIFEST.json").write_text(json.dumps(manifest | {"sha256": _digest(manifest)}))
    with pytest.raises(
        RunError, match=r"written in format 99 by sslkit 7\.1, which is newer than this .*; continue with"
    ):
        choose_checkpoint(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["step-00000001"]
