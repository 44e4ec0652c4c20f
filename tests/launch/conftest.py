"""Stand-ins for ranks: small scripts without torch that stop, crash, hang or die as they are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sslkit.launch import local, start

RANK = """
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from sslkit.errors import DataError, SslkitError
from sslkit.launch.exchange import as_rank

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
exchange = Path(sys.argv[sys.argv.index("--exchange") + 1])
into = Path(sys.argv[sys.argv.index("--into") + 1]) if "--into" in sys.argv else None
asked = []

class Stopped(SslkitError):
    exit_code = 75

def listen():
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(signal.Signals(number).name))
    (exchange / f"listening-{rank}").touch()

def wait_for_a_stop():
    listen()
    while not asked:
        time.sleep(0.01)

def wait_for_ever():
    while True:
        time.sleep(1)

def save(folder, step):
    (folder / "checkpoints" / f"step-{step:08}").mkdir(parents=True)

def work():
    global into
BODY
    return 0

sys.exit(as_rank(exchange, work))
"""

LAUNCHER = """
import json, sys
from pathlib import Path
from sslkit.launch import local, start
from sslkit.launch.meeting import Place

told = json.loads(sys.argv[1])
for name, value in told.pop("limits").items():
    setattr(start, name, value)
rendezvous = told["place"].pop("rendezvous", None)
place = Place(rendezvous=None if rendezvous is None else Path(rendezvous), **told.pop("place"))
sys.exit(local.supervise(local.Launch(place=place, **told)))
"""

SLURM = '''#!PYTHON
"""sbatch, scontrol and srun as they concern a job: it starts in a clean environment, and again if it was requeued."""

import itertools, json, os, re, shlex, signal, subprocess, sys, time
from pathlib import Path

state = Path(__file__).parent / "state"


def sbatch(parsable, script):
    assert parsable == "--parsable"
    options = [word for line in Path(script).read_text().splitlines() if line.startswith("#SBATCH ")
               for word in shlex.split(line[8:])]
    if "--partition=none" in options:
        sys.exit("sbatch: error: invalid partition specified: none")
    (state / "options.json").write_text(json.dumps(options))
    subprocess.Popen([sys.executable, __file__, "job", script], start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("77;cluster")


def job(script):
    options = dict(word.partition("=")[::2] for word in json.loads((state / "options.json").read_text()))
    output = re.sub("%(.)", lambda match: {"j": "77", "%": "%"}[match[1]], options["--output"])
    for start in itertools.count():
        clean = {"SLURM_JOB_ID": "77"} | ({"SLURM_RESTART_COUNT": str(start)} if start else {})
        clean["NODES"] = options["--nodes"]
        with open(output, "a") as file:
            shell = subprocess.Popen(["/bin/bash", script], env=clean, cwd="/", stdout=file, stderr=file,
                                     stdin=subprocess.DEVNULL)
        (state / f"shell-{start}").write_text(str(shell.pid))
        code = shell.wait()
        if not (state / "requeue").exists():
            break
        (state / "requeue").unlink()
    (state / "code.tmp").write_text(str(code))
    (state / "code.tmp").rename(state / "code")


def scontrol(what, number):
    assert (what, number) == ("requeue", "77")
    (state / "requeue").touch()


def srun(*words):
    assert "--kill-on-bad-exit=1" in words
    command = [word for word in words if not word.startswith("--")]
    tasks = [subprocess.Popen(command, env=os.environ | {"SLURM_NODEID": str(node)})
             for node in range(int(os.environ["NODES"]))]
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda number, frame: [task.send_signal(number) for task in tasks])
    while any(task.poll() is None for task in tasks):
        if any(task.poll() for task in tasks):
            for task in tasks:
                task.kill()
        time.sleep(0.01)
    sys.exit(max(task.returncode for task in tasks))


name, *words = sys.argv if "job" not in sys.argv else sys.argv[1:]
globals()[Path(name).name](*words)
'''

LIMITS = {"_ASK": 0.3, "_TERMINATE": 0.6, "_KILL": 0.4, "_INSIST": 0.3, "_LINGER": 0.6, "_LOOK": 0.1}


@pytest.fixture
def quick(monkeypatch):
    """Let the launcher be less patient."""
    for name, value in LIMITS.items():
        monkeypatch.setattr(start, name, value)
    monkeypatch.setattr(local, "ENDING_SECONDS", LIMITS["_TERMINATE"] + LIMITS["_KILL"])
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)


@pytest.fixture
def rank():
    """Return the command of a rank that does what a text says."""

    def make(body):
        return [sys.executable, "-c", RANK.replace("BODY", textwrap.indent(textwrap.dedent(body), "    "))]

    return make


@pytest.fixture
def launcher(tmp_path):
    """Start a launcher in a process of its own; whatever is left of it at the end is killed, and is a failure."""
    started = []

    def start(command, *, limits=LIMITS, place=None, **launch):
        told = {"command": command, "limits": limits, "place": place or {"nproc": 2}} | launch
        with (tmp_path / f"launcher-{len(started)}.txt").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, json.dumps(told)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(tmp_path)},
                start_new_session=True,
            )
        process.output = tmp_path / f"launcher-{len(started)}.txt"
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
            pytest.fail("a launcher was left running")


@pytest.fixture
def wait_until():
    """Wait for something that another process does."""

    def wait(condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.02)

    return wait


@pytest.fixture
def is_gone():
    """Whether a process has ended; one that its parent has not yet noticed has."""

    def gone(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    return gone


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put a stand-in of SLURM on the PATH; return the folder of what it knows."""
    tools = tmp_path / "tools"
    (tools / "state").mkdir(parents=True)
    for name in ("sbatch", "scontrol", "srun"):
        (tools / name).write_text(SLURM.replace("PYTHON", sys.executable))
        (tools / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    yield tools / "state"
    if not (tools / "state" / "code").exists():
        for path in (tools / "state").glob("shell-*"):
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)
