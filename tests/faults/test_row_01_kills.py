"""kill -9 at random moments, while saving included: the run is never lost, and ends with the very same weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sslkit import faults, run
from sslkit.engine.checkpoint import fault_of
from sslkit.run_folder import checkpoint_steps, newest_step

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SAVING = ["checkpoint.write", "checkpoint.before_manifest", "checkpoint.before_rename", "checkpoint.after_rename",
          "checkpoint.retire"]  # fmt: skip
REPOSITORY = Path(__file__).parents[2]


def weights(folder):
    return load_file(folder / "backbone.safetensors") | load_file(folder / "head.safetensors")


def require_same(whole, killed):
    first, second = weights(whole), weights(killed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def require_not_lost(folder, before):
    """After a kill: never back to before, and what is there is whole, but for what has not got its name yet."""
    found = checkpoint_steps(folder / "checkpoints")
    assert max(found, default=0) >= before
    assert [fault_of(path) for path in found.values()] == [None] * len(found)


def test_row_01_a_run_killed_at_every_point_ends_as_if_it_had_not_been(recipe_file, tmp_path, forked):
    """In processes that have torch loaded already; each gets one step further, so that every moment is another one."""
    recipe, overrides = recipe_file(), ["pretrain.epochs=5", "pretrain.checkpoint_every_steps=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(recipe, into=whole, overrides=overrides)
    for point in (*SAVING, "step.start", *SAVING, "run.start", "save_artifact", "evaluate.start"):
        before = newest_step(killed)
        numbered = point in SAVING or point == "step.start"
        faults.arm(f"{point}:kill@{before + 2}" if numbered else f"{point}:kill")
        assert forked(lambda: run(recipe, into=killed, overrides=overrides)) == -signal.SIGKILL, point
        faults.disarm()
        require_not_lost(killed, before)
    run(recipe, into=killed, overrides=overrides)
    require_same(whole, killed)


def _start(recipe, folder, *arguments):
    command = [sys.executable, "-m", "sslkit", "run", recipe, "--into", folder, "--device", "cpu", "--workers", "0"]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins" / "simclr" / "src")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*map(str, [*command, *arguments])], env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def _kill_after(process, folder, rng):
    """Kill a process somewhere between its first breath and its third checkpoint; tell at which kind of moment."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 3))
        moment = "while starting"
    else:
        wanted = newest_step(folder) + rng.randint(1, 3)
        while newest_step(folder) < wanted and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        moment = "while training or saving"
    if any((folder / "checkpoints").glob(".tmp-*")):
        moment = "while saving"
    process.kill()
    return moment


@pytest.mark.slow
def test_row_01_fifty_kills_from_the_command_line(recipe_file, tmp_path):
    """Half at random moments, half at the fault points of saving; three epochs of 40 steps with `--into`."""
    recipe = recipe_file()
    recipe.write_text(recipe.read_text().replace("num_train = 64", "num_train = 640"))
    overrides = ["pretrain.epochs=3", "pretrain.checkpoint_every_steps=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _start(recipe, whole, *overrides).wait(timeout=120) == 0
    rng = random.Random(1)
    moments, kept, left_over = Counter(), 0, 0
    for number in range(50):
        before = newest_step(killed)
        point = rng.choice(SAVING[: 5 if before > 2 else 4]) if number % 2 else None
        armed = [] if point is None else ["--fault", f"{point}:kill@{before + rng.randint(1, 2)}"]
        with _start(recipe, killed, *overrides, *armed) as process:
            moment = _kill_after(process, killed, rng) if point is None else point
            error = process.stderr.read()
        assert process.returncode == -signal.SIGKILL, error
        require_not_lost(killed, before)
        moments[moment] += 1
        kept += newest_step(killed) > before
        left_over += any((killed / "checkpoints").glob(".tmp-*"))
    with _start(recipe, killed, *overrides) as process:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    require_same(whole, killed)
    assert not any((killed / "checkpoints").glob("*.corrupt"))
    rows = [*sorted(moments.items()), ("all", moments.total())]
    rows += [("of them after a new checkpoint", kept), ("of them with a half-written one left behind", left_over)]
    print("\n" + "\n".join(f"| {what} | {count} |" for what, count in rows))  # noqa: T201  for faults.md
