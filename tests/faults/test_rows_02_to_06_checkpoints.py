"""Disk full, permission lost, bit rot, an unusable newest checkpoint, retention: what is on the disk is still good."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from sslkit import RunError, faults, run
from sslkit.engine.checkpoint import choose_checkpoint, fault_of, read_checkpoint, save_checkpoint
from sslkit.errors import NonFiniteError

MEBIBYTE = 2**18  # numbers of float32


def parts(step, *, size=4):
    weight = torch.full((size,), float(step))
    return {"model": {"weight": weight}, "optimizer": {"weight": {"momentum_buffer": weight + 1}}}


def saved(folder, *steps, **options):
    for step in steps:
        save_checkpoint(folder, step, parts(step, **options), {"identity": {}})


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def steps_in(folder):
    return sorted(path.name for path in folder.iterdir())


WRITING = ["checkpoint.write", "checkpoint.before_manifest", "checkpoint.before_rename"]


@pytest.mark.parametrize("point", WRITING)
@pytest.mark.parametrize(("action", "reason"), [("enospc", "No space left on device"), ("eacces", "Permission denied")])
def test_row_02_03_a_refusal_at_any_point_of_saving_leaves_all_as_it_was(tmp_path, point, action, reason):
    saved(tmp_path, 1, 2)
    before = content(tmp_path)
    faults.arm(f"{point}:{action}@3")
    with pytest.raises(RunError, match=rf"step-00000003: .*{reason}.* it needs 2\.0 MiB; older checkpoints"):
        saved(tmp_path, 3, size=MEBIBYTE)
    assert content(tmp_path) == before
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_row_02_the_system_cuts_a_file_short(tmp_path, forked, capfd):
    """A limit on file sizes is the disk that any user can fill."""
    import resource

    saved(tmp_path, 1, 2)
    before = content(tmp_path)

    def save():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE, MEBIBYTE))
        saved(tmp_path, 3, size=MEBIBYTE)

    assert forked(save) == 1
    assert "step-00000003: the checkpoint could not be written" in (said := capfd.readouterr().err)
    assert "File too large" in said
    assert "it needs 2.0 MiB" in said
    assert content(tmp_path) == before
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MiB, where this system lets a process mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "sslkit-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_row_02_a_disk_that_is_full_in_truth(small_disk):
    saved(small_disk, 1, size=MEBIBYTE // 2)  # 1 MiB with its optimizer
    before = content(small_disk)
    with pytest.raises(RunError, match=r"step-00000002: .*No space left on device.*it needs 6\.0 MiB"):
        saved(small_disk, 2, size=3 * MEBIBYTE)
    assert content(small_disk) == before
    saved(small_disk, 2, size=MEBIBYTE // 2)  # what was half written does not take its place
    assert choose_checkpoint(small_disk).name == "step-00000002"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_row_03_a_folder_that_became_read_only(tmp_path):
    saved(tmp_path, 1)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match="step-00000002: .*Permission denied"):
            saved(tmp_path, 2)
    finally:
        tmp_path.chmod(0o700)
    assert steps_in(tmp_path) == ["step-00000001"]


def test_row_03_what_may_not_be_read_is_not_called_broken(tmp_path, monkeypatch):
    saved(tmp_path, 1, 2)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("sslkit.engine.checkpoint.file_sha256", refuse)
    with pytest.raises(RunError, match=r"step-00000002.*: cannot be read: Permission denied"):
        choose_checkpoint(tmp_path)
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002"]


def test_row_04_every_flipped_bit_is_found_and_its_file_named(tmp_path):
    saved(tmp_path, 1)
    folder = tmp_path / "step-00000001"
    rng = random.Random(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for bit in rng.sample(range(8 * len(whole)), 400 if path.name == "MANIFEST.json" else 40):
            broken = bytearray(whole)
            broken[bit // 8] ^= 1 << bit % 8
            path.write_bytes(broken)
            reason = fault_of(folder)
            assert reason is not None, (path.name, bit)
            if path.name != "MANIFEST.json":
                assert reason == f"{path.name} has other bytes"
        path.write_bytes(whole)
    assert fault_of(folder) is None


@pytest.mark.parametrize("point", ["checkpoint.before_manifest", "checkpoint.before_rename", "checkpoint.after_rename"])
def test_row_04_a_bit_that_flips_while_saving_is_found_before_anything_is_deleted(tmp_path, point):
    saved(tmp_path, 1, 2)
    before = content(tmp_path)
    faults.arm(f"{point}:flip@3")
    with pytest.raises(RunError, match=r"just written is not whole \(model\.safetensors has other bytes\); older"):
        saved(tmp_path, 3)
    assert before.items() <= content(tmp_path).items()


def test_row_05_the_one_before_is_taken_and_the_broken_one_set_aside_and_named(tmp_path, caplog):
    saved(tmp_path, 1, 2)
    faults.flip(tmp_path / "step-00000002" / "model.safetensors")
    loaded, state = read_checkpoint(choose_checkpoint(tmp_path))
    assert (state["step"], loaded["model"]["weight"][0].item()) == (1, 1.0)
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002.corrupt"]
    assert "step-00000002 is not whole (model.safetensors has other bytes); renamed to" in caplog.text
    saved(tmp_path, 2)  # the run comes to that step again
    assert choose_checkpoint(tmp_path).name == "step-00000002"


def test_row_05_never_silently_from_the_start(tmp_path):
    saved(tmp_path, 1)
    (tmp_path / "step-00000001" / "state.json").unlink()
    for _ in range(2):  # the second call finds only what the first one set aside
        with pytest.raises(RunError, match="no checkpoint is whole; start again in a new folder"):
            choose_checkpoint(tmp_path)


def test_row_06_two_are_kept_and_the_oldest_goes_last(tmp_path, forked):
    saved(tmp_path, 1, 2)
    faults.arm("checkpoint.after_rename:kill@3")
    assert forked(lambda: saved(tmp_path, 3)) == -signal.SIGKILL
    faults.disarm()
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    assert choose_checkpoint(tmp_path).name == "step-00000003"
    saved(tmp_path, 4)
    assert steps_in(tmp_path) == ["step-00000003", "step-00000004"]


def test_row_06_a_kill_while_deleting_leaves_no_half_of_one_under_its_name(tmp_path, forked, monkeypatch):
    saved(tmp_path, 1, 2)

    def begin_to_delete(path, **options):
        if path.exists():
            next(path.iterdir()).unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def save():
        monkeypatch.setattr("shutil.rmtree", begin_to_delete)
        saved(tmp_path, 3)

    assert forked(save) == -signal.SIGKILL
    assert [fault_of(path) for path in tmp_path.glob("step-*")] == [None, None]
    saved(tmp_path, 4)
    assert steps_in(tmp_path) == ["step-00000003", "step-00000004"]


def test_row_06_what_cannot_be_deleted_is_a_warning(tmp_path, caplog):
    saved(tmp_path, 1, 2)
    faults.arm("checkpoint.retire:eacces@3")
    saved(tmp_path, 3)
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]
    assert "step-00000001 could not be deleted: Permission denied" in caplog.text
    saved(tmp_path, 4)
    assert steps_in(tmp_path) == ["step-00000003", "step-00000004"]


def test_row_06_the_newest_whole_one_outlives_any_broken_one(tmp_path, monkeypatch):
    saved(tmp_path, 1, 2)
    monkeypatch.setattr("sslkit.engine.checkpoint.fault_of", lambda path: "other bytes")
    with pytest.raises(RunError, match="older ones are kept"):
        saved(tmp_path, 3)
    assert steps_in(tmp_path) == ["step-00000001", "step-00000002", "step-00000003"]


@pytest.mark.parametrize("part", ["model", "optimizer"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_row_21_what_is_not_finite_is_never_written(tmp_path, part, number):
    saved(tmp_path, 1)
    state = parts(2)
    tensor = state["model"]["weight"] if part == "model" else state["optimizer"]["weight"]["momentum_buffer"]
    tensor[3] = number
    with pytest.raises(
        NonFiniteError, match=rf"not saved: {part}/weight.* is not finite at step 2; the last good .*01$"
    ):
        save_checkpoint(tmp_path, 2, state, {})
    assert steps_in(tmp_path) == ["step-00000001"]


def test_row_02_a_run_ends_or_goes_on_as_its_recipe_says(recipe_file, tmp_path, caplog):
    whole = run(recipe_file(), into=tmp_path / "whole").folder
    faults.arm("checkpoint.write:enospc@4")
    with pytest.raises(RunError, match="step-00000004: .*No space left on device"):
        run(recipe_file(), into=tmp_path / "ends")
    info = run(recipe_file(), into=tmp_path / "goes_on", overrides=["pretrain.on_save_error='continue'"])
    assert "going on without a checkpoint: " in caplog.text
    assert steps_in(tmp_path / "goes_on" / "checkpoints")[-1] == "step-00000008"
    faults.disarm()
    run(recipe_file(), into=tmp_path / "ends")
    for folder in (info.folder, tmp_path / "ends"):
        assert (folder / "backbone.safetensors").read_bytes() == (whole / "backbone.safetensors").read_bytes()
