"""Jobs on a stand-in cluster that starts them in a clean environment, warns them, and starts them again."""

import ast
import json
import os
import signal
import sys
import textwrap
import time

import pytest

from sslkit.errors import RunError
from sslkit.launch import slurm

RUN = """
import os, signal, sys, time
from pathlib import Path
into = Path(sys.argv[sys.argv.index("--into") + 1])
node = sys.argv[sys.argv.index("--node-rank") + 1] if "--node-rank" in sys.argv else "0"
told = []
def listen():
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, frame: told.append(signal.Signals(number).name))
    start = os.environ.get("SLURM_RESTART_COUNT", 0)
    while node == "0" and "--node-rank" in sys.argv and not (into / f"listening-{start} on 1").exists():
        time.sleep(0.01)
    (into / (f"listening-{start}" if node == "0" else f"listening-{start} on {node}")).touch()
def wait_for_a_stop():
    listen()
    while not told: time.sleep(0.01)
"""


@pytest.fixture
def submitted(cluster, monkeypatch, tmp_path):
    """Submit a stand-in for a run."""

    def submit(body, words=("run", "r.toml"), into="run", **options):
        text = RUN + textwrap.dedent(body)
        monkeypatch.setattr(slurm, "command_of", lambda words: [sys.executable, "-c", text, *words])
        return slurm.submit(
            words, name="toy", into=None if into is None else tmp_path / into, runs=tmp_path / "runs", **options
        )

    return submit


@pytest.fixture
def shell(cluster, wait_until):
    """Signal the shell of a job's n-th start, once its run listens."""

    def send(name, into, start=0):
        wait_until((into / f"listening-{start}").exists)
        os.kill(int((cluster / f"shell-{start}").read_text()), getattr(signal, name))

    return send


@pytest.fixture
def ended(cluster, wait_until):
    """Wait for a job to be over, and return its exit code and the number of its starts."""

    def wait():
        wait_until((cluster / "code").exists)
        return int((cluster / "code").read_text()), len(list(cluster.glob("shell-*")))

    return wait


def test_a_warned_job_stops_in_good_order_and_goes_on_after_the_requeue(submitted, shell, ended, tmp_path):
    body = """
    print("start", os.environ.get("SLURM_RESTART_COUNT", "0"), flush=True)
    if os.environ.get("SLURM_RESTART_COUNT") == "2": sys.exit(0)
    wait_for_a_stop()
    time.sleep(0.5)
    sys.exit(75 if told == ["SIGUSR1"] else 1)
    """
    told = submitted(body)
    assert told.splitlines()[0] == f"submitted as job 77; its folder is {tmp_path}/run"
    for start in range(2):
        shell("SIGUSR1", tmp_path / "run", start)
    assert ended() == (0, 3)
    output = tmp_path / "run" / ".slurm" / "output-77.txt"
    assert str(output) in told
    assert output.read_text() == "start 0\nstart 1\nstart 2\n"


def test_signals_while_the_run_stops_do_not_hide_its_exit_code(submitted, shell, ended, tmp_path):
    body = """
    if "SLURM_RESTART_COUNT" in os.environ: sys.exit(0)
    listen()
    while len(told) < 3: time.sleep(0.01)
    sys.exit(75)
    """
    submitted(body)
    for name in ("SIGUSR1", "SIGUSR1", "SIGTERM"):
        shell(name, tmp_path / "run")
        time.sleep(0.1)
    assert ended() == (0, 2)


def test_a_run_that_is_told_before_it_listens_is_started_again(submitted, shell, ended, tmp_path):
    body = """
    (into / "listening-0").touch()
    if "SLURM_RESTART_COUNT" not in os.environ: time.sleep(60)
    """
    submitted(body)
    shell("SIGUSR1", tmp_path / "run")
    assert ended() == (0, 2)


def test_a_cancelled_job_stops_in_good_order_and_stays_away(submitted, shell, ended, tmp_path):
    submitted("wait_for_a_stop()\nsys.exit(75)")
    shell("SIGTERM", tmp_path / "run")
    assert ended() == (75, 1)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_ends_as_its_run_does(submitted, ended, code):
    submitted(f"sys.exit({code})")
    assert ended() == (code, 1)


def test_odd_names_and_a_bare_environment(submitted, ended, tmp_path, monkeypatch):
    here = tmp_path / "it's $HOME `x`"
    here.mkdir()
    monkeypatch.chdir(here)
    body = """
    (into / "seen.txt").write_text(repr([sys.argv[1:], os.getcwd(), sorted(set(os.environ) - {"LC_CTYPE"})]))
    """
    words = ["run", "my recipe.toml", 'name="a\'b"', "--slurm", "time=1", "--runs", "$(rm x)", "--slurm=x"]
    submitted(body, words, into='100% "of" #1')
    assert ended() == (0, 1)
    into = tmp_path / '100% "of" #1'
    argv, folder, environment = ast.literal_eval((into / "seen.txt").read_text())
    assert argv == ["run", "my recipe.toml", 'name="a\'b"', "--runs", "$(rm x)", "--into", str(into)]
    assert folder == str(here)
    assert environment == ["NODES", "OLDPWD", "PWD", "SHLVL", "SLURM_JOB_ID", "_"]
    assert (into / ".slurm" / "output-77.txt").read_text() == ""


def test_several_machines_meet_in_a_fresh_folder_at_every_start(submitted, shell, ended, tmp_path):
    body = """
    folder = Path(sys.argv[sys.argv.index("--rendezvous") + 1])
    (into / f"{folder.parent.name} {folder.name} {node}").touch()
    if "SLURM_RESTART_COUNT" not in os.environ:
        wait_for_a_stop()
        sys.exit(75)
    """
    submitted(body, nodes=2)
    shell("SIGUSR1", tmp_path / "run")
    assert ended() == (0, 2)
    found = sorted(path.name for path in (tmp_path / "run").glob("*rendezvous*"))
    assert found == [f".slurm rendezvous-77-{start} {node}" for start in (0, 1) for node in (0, 1)]


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("", []),
        ("partition=gpu gres=gpu:8 time=24:00:00", ["--partition=gpu", "--gres=gpu:8", "--time=24:00:00"]),
        ("--partition=gpu -A 'my group'", ["--partition=gpu", "-A", "my group"]),
        ("exclusive 'comment=two words'", ["--exclusive", "--comment=two words"]),
    ],
)
def test_options_for_sbatch(submitted, ended, cluster, tmp_path, text, added):
    submitted("pass", options=text)
    ended()
    assert json.loads((cluster / "options.json").read_text()) == [
        "--job-name=sslkit-toy",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--signal=B:USR1@120",
        "--requeue",
        "--open-mode=append",
        f"--output={tmp_path}/run/.slurm/output-%j.txt",
        *added,
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"options": "partition=none"}, "invalid partition specified: none"),
        ({"options": "comment='x"}, "No closing quotation"),
        ({"options": "time=1\nbegin=now"}, "on one line"),
        ({"into": "full"}, "holds other files and no run"),
        ({"into": "a\nb"}, "has a line break in it"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(submitted, tmp_path, options, reason):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    with pytest.raises(RunError, match=reason) as caught:
        submitted("pass", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["sbatch", "srun"])
def test_a_missing_tool_is_named_before_anything_is_written(submitted, cluster, tmp_path, missing, monkeypatch):
    (cluster.parent / missing).unlink()
    monkeypatch.setenv("PATH", str(cluster.parent))
    with pytest.raises(RunError, match=f"{missing} is not on the PATH"):
        submitted("pass", nodes=2)
    assert not (tmp_path / "run").exists()


def test_a_job_that_cannot_be_requeued_says_how_to_go_on(submitted, shell, ended, cluster, tmp_path):
    (cluster.parent / "scontrol").unlink()
    submitted("wait_for_a_stop(); sys.exit(75)")
    shell("SIGUSR1", tmp_path / "run")
    assert ended() == (75, 1)
    (output,) = (tmp_path / "run" / ".slurm").glob("output-*.txt")
    assert f"to go on: sbatch {tmp_path}/run/.slurm/job.sh" in output.read_text()


def test_without_a_folder_one_is_named_at_once(submitted, ended, tmp_path):
    submitted("(into / 'seen').touch()", into=None)
    assert ended() == (0, 1)
    (folder,) = (tmp_path / "runs" / "toy").iterdir()
    assert (folder / "seen").exists()


def test_the_jobs_of_a_study_are_one_array_with_a_file_each(submitted, tmp_path):
    words = ("sweep", "study.toml", "--slurm", "gres=gpu:1", "--parts", "3")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")  # a study goes on in its folder
    told = submitted("sys.exit(0)", words, into="study", jobs=3, options="gres=gpu:1")
    script = (tmp_path / "study" / ".slurm" / "job.sh").read_text()
    assert "--array=1-3" in script
    assert "output-%A_%a.txt" in script
    assert f"--parts 3 --into {tmp_path}/study" in script
    assert "gres=gpu:1 --parts" not in script
    assert "output-77_*.txt" in told
