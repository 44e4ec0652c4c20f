"""The rows of `sslkit doctor --faults` against a stand-in for the command: each passes, and each can fail."""

import sys
import time
from pathlib import Path

import pytest

from sslkit.doctor import trials
from sslkit.doctor.rows import ROWS, outcomes
from sslkit.doctor.trials import Bench

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))


def tried(folder, numbers=None):
    with Bench(folder, command=STAND_IN) as bench:
        return {outcome.number: outcome for outcome in outcomes(bench, numbers)}


def test_all_rows_pass_where_all_promises_are_kept(tmp_path):
    found = tried(tmp_path)
    assert list(found) == [row.number for row in ROWS] == [1, 2, 4, 5, 9, 14, 15]
    assert [outcome.happened for outcome in found.values() if not outcome.passed] == []


@pytest.mark.parametrize(
    ("number", "sabotage", "happened"),
    [
        (1, "saves halves", "model.safetensors of step-00000006 has other bytes than its manifest says"),
        (1, "other draws", "other bits than the undisturbed run's in backbone.safetensors"),
        (2, "says little", "the error does not say No space left on device: error: the disk"),
        (2, "leaves halves", "half a checkpoint was left: .tmp-6"),
        (4, "trusts", "the file with the flipped bit was not named"),
        (4, "names no file", "the file with the flipped bit was not named"),
        (5, "trusts", "went on after step 6, not 4"),
        (5, "begins again", "exit code 0, not 2, with no checkpoint left"),
        (9, "other draws", "other bits than the undisturbed run's in backbone.safetensors"),
        (9, "saves another", "the newest checkpoint is of step 2, not 3"),
        (14, "exits with 0", "exit code 0, not 75"),
        (14, "lies", "status.json says failed"),
        (14, "saves another", "but said: error: stopped by SIGTERM after step"),
        (15, "names another", "rank 1 is not named last: rank 0 of 2 was killed"),
        (15, "leaves a process", "processes were left"),
    ],
)
def test_a_row_fails_where_its_promise_is_broken(tmp_path, monkeypatch, number, sabotage, happened):
    monkeypatch.setenv("SABOTAGE", sabotage)
    outcome = tried(tmp_path, [number])[number]
    assert not outcome.passed
    assert happened in outcome.happened


def test_a_command_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_SECONDS", 0.2)
    with Bench(tmp_path, command=[sys.executable, "-c", "import time; time.sleep(60)"]) as bench:
        start = time.monotonic()
        [outcome] = outcomes(bench)
        assert time.monotonic() - start < 10
        assert (outcome.number, outcome.passed, outcome.happened) == (0, False, "did not end within 0.2 s")
        assert bench.trial("undisturbed").processes() == []


@pytest.mark.parametrize(
    ("program", "happened"),
    [
        ("print('error: no room'); sys.exit(2)", "could not go on (exit code 2): error: no room"),
        ("", "FileNotFoundError: [Errno 2] No such file or directory: '{folder}/summary.json'"),
    ],
)
def test_a_run_that_fails_without_any_fault_is_the_only_news(tmp_path, program, happened):
    with Bench(tmp_path, command=[sys.executable, "-c", f"import sys; {program}"]) as bench:
        [outcome] = outcomes(bench)
    assert (outcome.number, outcome.passed) == (0, False)
    assert outcome.happened == happened.format(folder=tmp_path / "undisturbed")


def test_whoever_stops_the_doctor_stops_its_runs(tmp_path):
    with Bench(tmp_path, command=[sys.executable, "-c", "import time; time.sleep(60)"]) as bench:
        trial = bench.trial("long")
        trial.start()
        while Path("/proc/self/cmdline").exists() and not trial.processes():
            time.sleep(0.01)
    assert trial.processes() == []
    with pytest.raises(trials.BrokenPromiseError, match="the doctor was stopped"):
        bench.trial("another").start()
