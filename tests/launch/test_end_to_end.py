"""The real thing: toy runs of two processes, interrupted, killed, and started in the same second."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TESTS = Path(__file__).parents[1]

sys.path.insert(0, str(TESTS))

from toy_recipe import RECIPE  # noqa: E402


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.toml"
    path.write_text(RECIPE.replace("epochs = 2", "epochs = 40", 1))
    return path


def start(recipe, *words, launcher=(sys.executable, "-m", "sslkit"), nproc=("--nproc", "2")):
    line = [*launcher, "run", str(recipe), "--device", "cpu", *nproc, *map(str, words)]
    return subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def weights(folder):
    return load_file(folder / "backbone.safetensors") | load_file(folder / "head.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_whole(folders):
    """Hold finished runs to what one run writes: every step once, one log, the same weights."""
    for folder in folders:
        assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
        assert steps[-1] == 160
        assert same(weights(folder), weights(folders[0]))


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """Two runs of two processes each that were started in the same second, and finished."""
    runs = tmp_path_factory.mktemp("runs")
    processes = [start(recipe, "--runs", runs) for _ in range(2)]
    for process in processes:
        shown, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, ""), shown
    return sorted((runs / "toy").iterdir())


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(finished):
    assert len(finished) == 2
    assert_whole(finished)


def test_a_slurm_job_that_is_warned_and_requeued_ends_with_the_same_weights(
    finished, recipe, cluster, wait_until, tmp_path
):
    into = tmp_path / "night"
    shown, errors = start(recipe, "--into", into, "--slurm", "partition=gpu").communicate(timeout=60)
    assert (shown.startswith("submitted as job 77"), errors) == (True, "")
    wait_until(lambda: list(into.glob("checkpoints/step-*")), 60)
    os.kill(int((cluster / "shell-0").read_text()), signal.SIGUSR1)
    wait_until((cluster / "shell-1").exists, 60)
    stopped = json.loads((into / "status.json").read_text())
    assert stopped["status"] == "stopped"
    wait_until((cluster / "code").exists, 60)
    assert (cluster / "code").read_text() == "0"
    assert "going on after step" in (into / ".slurm" / "output-77.txt").read_text()
    assert_whole([finished[0], into])


@pytest.mark.slow
def test_row_16_a_rank_that_is_killed_is_named_and_its_run_goes_on(finished, recipe, tmp_path):
    into = tmp_path / "run"
    process = start(recipe, "--into", into, "--retries", "1", "--fault", "checkpoint.after_rename:kill@48")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.splitlines() == [
        "error: rank 0 of 2 was killed by SIGKILL (often: out of memory)",
        "starting again after step 48 (retry 1 of 1)",
    ]
    assert_whole([finished[0], into])


@pytest.mark.slow
def test_four_runs_in_the_same_second_and_a_fifth_during_them(recipe, tmp_path):
    processes = [start(recipe, "--runs", tmp_path) for _ in range(4)]
    time.sleep(3)
    processes.append(start(recipe, "--runs", tmp_path))
    for process in processes:
        shown, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (0, ""), shown
    folders = sorted((tmp_path / "toy").iterdir())
    assert len(folders) == 5
    assert_whole(folders)


@pytest.mark.slow
def test_torchrun_starts_it_too(finished, recipe, tmp_path):
    into = tmp_path / "run"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "sslkit")
    process = start(recipe, "--into", into, launcher=torchrun, nproc=())
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert_whole([finished[0], into])


@pytest.mark.slow
def test_row_18_a_rank_that_hangs_is_shown_where_it_hangs(recipe, tmp_path):
    words = ("--into", tmp_path / "run", "--step-timeout", "3", "--start-timeout", "20")
    process = start(recipe, *words, "--fault", "step.start:hang@9,rank=1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    lines = errors.splitlines()
    assert lines[0] == "rank 1 of 2 hung here:"
    assert "in _hang" in lines[1]
    assert lines[-1] == "error: rank 1 of 2 hung; if a step may take longer, raise --step-timeout"


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_process(recipe, wait_until, is_gone, tmp_path):
    into = tmp_path / "run"
    process = start(recipe, "--into", into, "pretrain.epochs=100000")
    wait_until((into / "metrics.jsonl").exists, 60)
    ranks = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(ranks) == 2
    process.kill()
    process.communicate()
    wait_until(lambda: all(map(is_gone, ranks)), 10)
