"""A study that is killed again and again ends with the same table as one that is not."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from toy_recipe import RECIPE  # noqa: E402

SWEEP = """
[sweep.axes]
pretrain.optimizer.learning_rate = [0.05, 0.2]
evaluate.0.k = [3, 5]
seed = [0, 1]
[[sweep.report]]
x = "learning_rate"
series = "k"
"""


def start(recipe, folder, *words):
    line = [sys.executable, "-m", "sslkit", "sweep", str(recipe), "--into", str(folder), "--device", "cpu", *words]
    return subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def table(folder):
    with (folder / "report.csv").open() as file:
        return [
            {key: text for key, text in row.items() if "second" not in key and "finished" not in key}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the recipe of a study, the folder of one that nobody disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("study")
    recipe = folder / "toy.toml"
    recipe.write_text(RECIPE + SWEEP)
    began = time.monotonic()
    process = start(recipe, folder / "whole", "--jobs", "2")
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return recipe, folder / "whole", time.monotonic() - began


def kill_and_go_on(recipe, folder, kills, longest):
    """Kill a sweep at random moments, and let it go on each time; return how many kills hit it."""
    chance, hits = random.Random(0), 0
    for kill in range(kills):
        process = start(recipe, folder, "--jobs", "2")
        time.sleep(chance.uniform(1.0, longest))
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[kill % 3]
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        hits += process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 75, 130)
        assert "Traceback" not in said
    process = start(recipe, folder, "--jobs", "2")
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return hits


@pytest.mark.slow
def test_a_sweep_killed_ten_times_ends_with_the_same_table(whole, tmp_path):
    recipe, undisturbed, seconds = whole
    hits = kill_and_go_on(recipe, tmp_path / "killed", kills=10, longest=max(3.0, seconds / 3))
    assert hits >= 5
    assert table(tmp_path / "killed") == table(undisturbed)
    assert len((tmp_path / "killed" / "results.jsonl").read_text().splitlines()) == 8


@pytest.mark.slow
def test_two_sweeps_of_one_study_divide_its_runs(whole, tmp_path):
    recipe, undisturbed, _ = whole
    both = [start(recipe, tmp_path / "shared") for _ in range(2)]
    said = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert table(tmp_path / "shared") == table(undisturbed)
    logs = list((tmp_path / "shared" / "logs").iterdir())
    assert all(path.read_text().count("pretrained in") <= 1 for path in logs)
    assert all("in use by" not in path.read_text() for path in logs)
