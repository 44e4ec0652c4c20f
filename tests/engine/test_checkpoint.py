from __future__ import annotations

import json
import random
import shutil

import pytest
import torch

from sslkit import RunError
from sslkit.engine import checkpoint
from sslkit.engine.checkpoint import fault_of, flatten, load_checkpoint, save_checkpoint, unflatten


def tree(step):
    return {
        "model": {"weight": torch.full((3, 2), float(step)).to(memory_format=torch.contiguous_format)},
        "optimizer": {"weight": {"momentum_buffer": torch.ones(3, 2), "step": torch.tensor(step)}},
        "callbacks": {"0-Probe": {"losses": [1.0, 2.0], "name": "x", "on": True, "none": None}},
    }


def test_what_is_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path, 7, tree(7), {"identity": {"data": "abc"}})
    parts, state = load_checkpoint(tmp_path)
    assert torch.equal(parts["model"]["weight"], tree(7)["model"]["weight"])
    assert parts["optimizer"]["weight"]["step"] == 7
    assert parts["callbacks"] == tree(7)["callbacks"]
    assert state == {"step": 7, "identity": {"data": "abc"}}


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "never") is None


def test_channels_last_and_shared_tensors_are_kept_apart():
    shared = torch.arange(16.0).reshape(1, 2, 2, 4).to(memory_format=torch.channels_last)
    tensors, skeleton = flatten({"a": shared, "b": [shared, (shared[0],)]})
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == 3
    back = unflatten(json.loads(json.dumps(skeleton)), tensors)
    assert torch.equal(back["b"][1][0], shared[0])


def test_what_is_neither_tensor_nor_scalar_is_refused():
    with pytest.raises(RunError, match=r"state /a/0: set is neither"):
        flatten({"a": [{1}]})


def test_two_are_kept_and_older_ones_deleted(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, tree(step), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_every_single_bit_flip_is_found_and_the_older_one_taken(tmp_path, caplog):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, tree(step), {})
    newest = tmp_path / "step-00000002"
    files = sorted(path for path in newest.iterdir() if path.name != "MANIFEST.json")
    rng = random.Random(0)
    for _ in range(40):
        path = rng.choice(files)
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        assert fault_of(newest) == f"{path.name} has other bytes"
        path.write_bytes(whole)
    assert fault_of(newest) is None
    (newest / "model.safetensors").write_bytes(b"")
    parts, state = load_checkpoint(tmp_path)
    assert state["step"] == 1
    assert parts["model"]["weight"][0, 0] == 1.0
    assert (tmp_path / "step-00000002.corrupt").is_dir()
    assert "step-00000002 is not whole (model.safetensors has another size)" in caplog.text


def test_never_silently_from_the_start(tmp_path):
    save_checkpoint(tmp_path, 1, tree(1), {})
    (tmp_path / "step-00000001" / "state.json").unlink()
    for _ in range(2):  # the second call finds only what the first one set aside
        with pytest.raises(RunError, match="no checkpoint is whole"):
            load_checkpoint(tmp_path)


def test_a_missing_part_in_the_manifest_is_a_fault(tmp_path):
    path = save_checkpoint(tmp_path, 1, tree(1), {})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    del manifest["files"]["optimizer.safetensors"]
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert fault_of(path) == "optimizer.safetensors is missing"


def test_a_newer_format_is_named(tmp_path):
    path = save_checkpoint(tmp_path, 1, tree(1), {})
    manifest = json.loads((path / "MANIFEST.json").read_text()) | {"format": 99}
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="written in format 99 by a newer sslkit"):
        load_checkpoint(tmp_path)
    assert path.is_dir()


def test_a_full_disk_leaves_the_older_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, tree(1), {})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match=r"step-00000002: .*No space left on device.*needs \d+ MiB"):
        save_checkpoint(tmp_path, 2, tree(2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_left_over_temporary_folders_go(tmp_path):
    (tmp_path / ".tmp-00000001-999").mkdir()
    save_checkpoint(tmp_path, 1, tree(1), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_the_same_step_may_be_saved_again(tmp_path):
    for value in (1, 5):
        save_checkpoint(tmp_path, 1, tree(value), {})
    parts, _ = load_checkpoint(tmp_path)
    assert parts["model"]["weight"][0, 0] == 5.0


def test_older_ones_stay_when_the_newest_cannot_be_read_back(tmp_path, monkeypatch):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, tree(step), {})
    monkeypatch.setattr(checkpoint, "fault_of", lambda path: "other bytes")
    with pytest.raises(RunError, match="older ones are kept"):
        save_checkpoint(tmp_path, 3, tree(3), {})
    assert (tmp_path / "step-00000001").is_dir()
    shutil.rmtree(tmp_path / "step-00000003")
