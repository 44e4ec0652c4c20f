from __future__ import annotations

import json

import pytest
import torch

import sslkit
from sslkit import RunError
from sslkit.engine import checkpoint
from sslkit.engine.checkpoint import choose_checkpoint, fault_of, last_good, read_checkpoint, save_checkpoint
from sslkit.run_folder import newest_step


def tree(step):
    return {
        "model": {"weight": torch.full((3, 2), float(step)).to(memory_format=torch.contiguous_format)},
        "optimizer": {"weight": {"momentum_buffer": torch.ones(3, 2), "step": torch.tensor(step)}},
        "callbacks": {"0-Probe": {"losses": [1.0, 2.0], "name": "x", "on": True, "none": None}},
    }


def test_what_is_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path, 7, tree(7), {"identity": {"data": "abc"}})
    parts, state = read_checkpoint(choose_checkpoint(tmp_path))
    assert torch.equal(parts["model"]["weight"], tree(7)["model"]["weight"])
    assert parts["optimizer"]["weight"]["step"] == 7
    assert parts["callbacks"] == tree(7)["callbacks"]
    assert state == {"step": 7, "identity": {"data": "abc"}}


def test_no_checkpoint_is_none(tmp_path):
    assert choose_checkpoint(tmp_path / "never") is None


def test_two_are_kept_and_older_ones_deleted(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, tree(step), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def rewrite(path, **changes):
    """Change a checkpoint's manifest as its writer might have: its own digest is right."""
    manifest = json.loads((path / "MANIFEST.json").read_text()) | changes
    del manifest["sha256"]
    (path / "MANIFEST.json").write_text(json.dumps(manifest | {"sha256": checkpoint._digest(manifest)}))


def test_the_manifest_says_who_wrote_it(tmp_path):
    path = save_checkpoint(tmp_path, 7, tree(7), {}, plugins={"sslkit-simclr": "0.1"})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert manifest["format"] == 2
    assert manifest["sslkit"] == sslkit.__version__
    assert manifest["torch"] == torch.__version__
    assert manifest["plugins"] == {"sslkit-simclr": "0.1"}


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json"])
def test_a_missing_part_in_the_manifest_is_a_fault(tmp_path, name):
    path = save_checkpoint(tmp_path, 1, tree(1), {})
    files = json.loads((path / "MANIFEST.json").read_text())["files"]
    del files[name]
    rewrite(path, files=files)
    assert fault_of(path) == f"{name} is missing"


def test_what_agrees_with_its_manifest_and_is_no_state_is_one_line(tmp_path):
    path = save_checkpoint(tmp_path, 1, tree(1), {})
    (path / "state.json").write_text('{"step": 1}')
    entry = {"bytes": 11, "sha256": checkpoint.file_sha256(path / "state.json")}
    files = json.loads((path / "MANIFEST.json").read_text())["files"]
    rewrite(path, files=files | {"state.json": entry})
    with pytest.raises(RunError, match=r"step-00000001: holds no state of a run: KeyError: 'trees'"):
        read_checkpoint(path)


def test_left_over_temporary_folders_go(tmp_path):
    (tmp_path / ".tmp-00000001-999").mkdir()
    save_checkpoint(tmp_path, 1, tree(1), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_state_that_no_file_can_hold_leaves_nothing(tmp_path):
    with pytest.raises(RunError, match="set is neither"):
        save_checkpoint(tmp_path, 1, {"callbacks": {"a": {1}}}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_is_saved_stays_and_one_that_is_broken_is_written_again(tmp_path):
    path = save_checkpoint(tmp_path, 1, tree(1), {})
    before = (path / "MANIFEST.json").stat().st_mtime_ns
    assert save_checkpoint(tmp_path, 1, tree(1), {}) == path
    assert (path / "MANIFEST.json").stat().st_mtime_ns == before
    (path / "model.safetensors").unlink()
    save_checkpoint(tmp_path, 1, tree(1), {})
    assert fault_of(path) is None


def test_a_broken_one_that_cannot_be_renamed_is_passed_over(tmp_path, monkeypatch, caplog):
    for step in (1, 3):
        save_checkpoint(tmp_path, step, tree(step), {})
    (tmp_path / "step-00000003" / "state.json").unlink()

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", refuse)
        assert choose_checkpoint(tmp_path).name == "step-00000001"
    assert "cannot be renamed: Permission denied" in caplog.text
    save_checkpoint(tmp_path, 2, tree(2), {})  # what goes on from there
    assert choose_checkpoint(tmp_path).name == "step-00000002"


def test_the_last_good_one_is_named_for_messages(tmp_path):
    assert last_good(tmp_path) == "no checkpoint was saved before"
    for step in (1, 2):
        save_checkpoint(tmp_path, step, tree(step), {})
    (tmp_path / "step-00000002" / "MANIFEST.json").unlink()
    assert last_good(tmp_path) == f"the last good checkpoint is {tmp_path / 'step-00000001'}"


def test_the_newest_step_of_a_run_is_found_by_names_alone(tmp_path):
    assert newest_step(tmp_path) == 0
    for name in ("step-00000008", "step-00000012.corrupt", ".tmp-00000016-1", "step-123456789", "step-1"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_step(tmp_path) == 123_456_789
