"""Jobs of a study: how many at a time, in which order, what a crash, a stop or another sweep means to them."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sslkit.errors import RunError
from sslkit.launch import sweep
from sslkit.launch.study import slots
from sslkit.launch.sweep import Job, Slot, run_jobs
from sslkit.lock import locked

RANK = """
import os, signal, sys, time
from pathlib import Path
from sslkit.errors import DataError, SslkitError
from sslkit.launch.exchange import as_rank

class Stopped(SslkitError):
    exit_code = 75

folder = Path(sys.argv[sys.argv.index("--into") + 1])
exchange = Path(sys.argv[sys.argv.index("--exchange") + 1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))

def work():
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "order").open("a") as order:
        order.write(folder.name + "\\n")
    print("begun")
    sys.stdout.flush()
    BODY
    return 0

sys.exit(as_rank(exchange, work))
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Return a function that makes a job of the body of its run."""
    monkeypatch.setattr(sweep, "command_of", lambda words: [sys.executable, "-c", *words])
    monkeypatch.setattr(sweep, "_LOOK_AGAIN", 0.1)

    def job(name, body="pass", needs=""):
        words = (RANK.replace("BODY", body), "--into", str(tmp_path / "runs" / name))
        return Job(name, words, tmp_path / "runs" / name, tmp_path / "logs" / f"{name}.txt", needs)

    return job


ONE = [Slot()]


def endings(jobs, slots=ONE, **options):
    options.setdefault("is_done", lambda job: False)
    return [(ending.job.name, ending.code, ending.reason) for ending in run_jobs(jobs, slots, **options)]


def begun(tmp_path):
    return (tmp_path / "runs" / "order").read_text().split()


def test_one_after_the_other_with_what_they_say_in_files(jobs, tmp_path):
    assert endings([jobs("a"), jobs("b"), jobs("c")]) == [("a", 0, ""), ("b", 0, ""), ("c", 0, "")]
    assert begun(tmp_path) == ["a", "b", "c"]
    assert (tmp_path / "logs" / "b.txt").read_text() == "begun\n"


def test_as_many_at_a_time_as_there_are_slots_each_with_its_environment(jobs, tmp_path):
    body = """
    (folder / os.environ["PLACE"]).touch()
    while len(list(folder.parent.glob("*/[xy]"))) < 2: time.sleep(0.01)
    """
    names = [
        name for name, code, _ in endings([jobs("a", body), jobs("b", body)], [Slot(1, {"PLACE": p}) for p in "xy"])
    ]
    assert sorted(names) == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / "runs").glob("*/[xy]")) == ["x", "y"]


def test_a_failure_harms_no_other_job_and_is_told_in_a_line(jobs, tmp_path):
    found = endings([jobs("a", "raise ValueError('odd')"), jobs("b", "raise DataError('no image')"), jobs("c")])
    assert [code for _, code, _ in found] == [1, 2, 0]
    assert "ValueError: odd" in found[0][2]
    assert found[1][2] == "no image"
    assert "Traceback" in (tmp_path / "logs" / "a.txt").read_text()


def test_a_killed_run_is_a_crash(jobs):
    ((_, code, reason),) = endings([jobs("a", "os.kill(os.getpid(), signal.SIGKILL)")])
    assert code == 1
    assert "killed by SIGKILL" in reason


def test_a_crash_is_tried_again_as_often_as_asked_and_a_mistake_never(jobs, tmp_path):
    assert [
        code for _, code, _ in endings([jobs("a", "raise ValueError"), jobs("b", "raise DataError('x')")], retries=2)
    ] == [1, 2]
    assert begun(tmp_path) == ["a", "a", "a", "b"]


def test_what_others_need_comes_first_and_its_failure_is_theirs(jobs, tmp_path):
    late = "time.sleep(0.3)"
    good = [jobs("a", needs="p"), jobs("p", late), jobs("b")]
    assert endings(good, [Slot(), Slot()])[0][0] == "b"
    assert begun(tmp_path).index("a") > begun(tmp_path).index("p")
    bad = [jobs("q", "raise DataError('no image')"), jobs("c", needs="q")]
    assert endings(bad) == [("q", 2, "no image"), ("c", 1, "its pretraining failed: no image")]


def test_what_somebody_else_has_done_is_not_begun(jobs, tmp_path):
    found = endings([jobs("a"), jobs("b", needs="a")], is_done=lambda job: job.name == "a")
    assert found == [("a", 0, ""), ("b", 0, "")]
    assert begun(tmp_path) == ["b"]


def test_a_job_that_another_sweep_has_taken_is_left_to_it_until_it_lets_go(jobs, tmp_path):
    claim = tmp_path / "runs" / ".claims" / "a"
    claim.mkdir(parents=True)
    code = "import sys, time\nfrom pathlib import Path\nfrom sslkit.lock import locked\n"
    code += f"with locked(Path({str(claim)!r})):\n    print('has it', flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"has it\n"
        threading.Timer(1.0, other.stdin.close).start()
        assert [name for name, _, _ in endings([jobs("a"), jobs("b")])] == ["b", "a"]
    with locked(claim, wait_seconds=0):
        pass  # it was let go of


def test_a_stop_ends_what_runs_in_good_order_and_begins_nothing(jobs, tmp_path):
    body = """
    while not asked: time.sleep(0.01)
    raise Stopped("stopped")
    """
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert [(name, code) for name, code, _ in endings([jobs("a", body), jobs("b")])] == [("a", 75)]
    assert begun(tmp_path) == ["a"]


def test_nothing_is_left_running_when_the_sweep_is_killed(jobs, tmp_path):
    job = jobs("a", "(folder / 'pid').write_text(str(os.getpid())); time.sleep(60)")
    code = (
        "import sys\nfrom pathlib import Path\nfrom sslkit.launch import sweep\n"
        "sweep.command_of = lambda words: [sys.executable, '-c', *words]\n"
        f"job = sweep.Job('a', {job.words!r}, Path({str(job.folder)!r}), Path({str(job.output)!r}))\n"
        "list(sweep.run_jobs([job], [sweep.Slot()], is_done=lambda job: False))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        pid = job.folder / "pid"
        deadline = time.monotonic() + 20
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    number = int(pid.read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("the run outlived its sweep")


def test_each_run_has_devices_of_its_own(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [slot.environment for slot in slots("auto", 4, nproc=2)] == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots("cuda", 2, jobs=3)] == ["5", "7", "5"]
    with pytest.raises(RunError, match="there are 2 CUDA devices"):
        slots("auto", 2, nproc=4)


def test_runs_on_a_cpu_share_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("sslkit.launch.study.cores", lambda: 8)
    assert [slot.environment for slot in slots("cpu", 4)] == [{}]
    assert [slot.environment for slot in slots("auto", 0, jobs=3)] == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert slots("auto", 0, jobs=2)[0].environment == {}


def test_a_stop_while_others_have_what_is_left_is_a_stop(jobs, tmp_path):
    claim = tmp_path / "runs" / ".claims" / "a"
    claim.mkdir(parents=True)
    code = "import time\nfrom pathlib import Path\nfrom sslkit.lock import locked\n"
    code += f"with locked(Path({str(claim)!r})):\n    print('has it', flush=True)\n    time.sleep(30)\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"has it\n"
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert [(name, code) for name, code, _ in endings([jobs("a"), jobs("b", needs="a")])] == [("a", 75)]
        other.kill()


def test_after_the_last_one_none_begins_and_those_that_run_come_to_their_ends(jobs, tmp_path):
    late = "time.sleep(1.0)"
    found = endings(
        [jobs("a", late), jobs("b", "raise DataError('no image')"), jobs("c")],
        [Slot(), Slot()],
        is_last=lambda ending: ending.code == 2,
    )
    assert [(name, code) for name, code, _ in found] == [("b", 2), ("a", 0)]


def test_what_needs_a_stopped_pretraining_is_stopped_too(jobs):
    found = endings([jobs("p", "raise Stopped('elsewhere')"), jobs("a", needs="p"), jobs("b")])
    assert [(name, code) for name, code, _ in found] == [("p", 75), ("a", 75), ("b", 0)]
