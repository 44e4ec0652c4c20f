"""Two runs, one folder: the second is told whose it is, what a killed one left hinders nobody. Clocks may jump."""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sslkit
from sslkit import RunError, lock, run
from sslkit.lock import NAME, locked

SOURCE = Path(sslkit.__file__).parent

HOLDER = """
import os, sys, time
from pathlib import Path
from sslkit.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    if len(sys.argv) > 2 and os.fork() == 0:  # as a loader process
        print(os.getpid(), flush=True)
        time.sleep(60)
    sys.stdin.read()
"""


class Holder:
    """Another process that has the lock until it is let go or killed."""

    def __init__(self, folder, *more):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder, *more],
            cwd=SOURCE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout.readline() == "held\n"
        self.child = int(self.process.stdout.readline()) if more else None

    def __enter__(self):
        return self.process

    def __exit__(self, *error):
        self.process.kill()
        if self.child is not None:
            os.kill(self.child, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def test_row_30_the_second_is_told_whose_folder_it_is(tmp_path):
    with Holder(tmp_path) as process:
        with pytest.raises(RunError) as caught, locked(tmp_path, wait_seconds=0.2):
            pass
        assert str(caught.value).startswith(
            f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()} ("
        )
        assert str(caught.value).endswith("); wait for it, or name another folder")
        process.stdin.close()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        assert (tmp_path / NAME).exists()


def test_row_30_who_waits_gets_it_as_soon_as_it_is_free(tmp_path):
    with Holder(tmp_path) as process:
        process.stdin.close()
        with locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_row_30_a_killed_holder_is_followed_at_once_even_if_its_loader_process_lives_on(tmp_path):
    with Holder(tmp_path, "with a child") as process:
        process.kill()
        process.wait()
        assert (tmp_path / NAME).exists()
        with locked(tmp_path, wait_seconds=0):
            assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_row_30_one_process_cannot_hold_it_twice(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        with (
            pytest.raises(RunError, match=f"is in use by process {os.getpid()}"),
            locked(tmp_path / "link", wait_seconds=0),
        ):
            pass
        with Holder(tmp_path):
            pass  # another folder is another lock
        assert subprocess.run(
            [sys.executable, "-c", HOLDER.replace("(Path(sys.argv[1]))", "(Path(sys.argv[1]), wait_seconds=0)"),
             tmp_path / "run"], cwd=SOURCE.parent, capture_output=True, stdin=subprocess.DEVNULL, check=False,
        ).returncode  # fmt: skip
    with locked(tmp_path / "run", wait_seconds=0):
        pass


def test_row_30_what_a_run_raises_lets_go_of_its_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path, wait_seconds=0):
        pass


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that has none, as some network disks."""

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)


def said(folder, **changes):
    (folder / NAME).write_text(json.dumps(lock._me() | changes))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_row_30_without_locks_what_the_file_says_counts(tmp_path, without_locks):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for stale in ({"pid": int(dead.stdout)}, {"pid": 1, "boot": "another"}, {"pid": "x"}, {}):
        said(tmp_path, **stale)
        with locked(tmp_path, wait_seconds=0):
            pass
    for living, whose in ({"pid": os.getppid()}, os.getppid()), ({"pid": 7, "host": "far\x1b[2J"}, r"7 on far\\x1b"):
        said(tmp_path, **living)
        with (
            pytest.raises(RunError, match=rf"in use by process {whose}.*, or delete its \.lock if it has ended"),
            locked(tmp_path, wait_seconds=0),
        ):
            pass
        assert (tmp_path / NAME).exists()


def test_row_30_a_jumping_clock_changes_no_waiting(tmp_path, monkeypatch):
    days = iter(range(0, 10**9, 10**5))
    monkeypatch.setattr("time.time", lambda: float(next(days)))
    with Holder(tmp_path):
        before = time.monotonic()
        with pytest.raises(RunError, match="in use"), locked(tmp_path, wait_seconds=0.3):
            pass
        assert 0.3 <= time.monotonic() - before < 3


STAMPS = {
    "engine/run.py": "when the run was finished, for people",
    "engine/run_info.py": "when the status was written, for people",
    "cache.py": "the age of files, in days",
    "launch/exchange.py": "which of several processes failed first",
    "launch/start.py": "the same",
}


def test_row_30_the_time_of_day_is_for_stamps_only():
    """It may be set back or forth at any moment; what waits or has a limit counts on the monotonic clock."""
    used = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("time", "time_ns", "now", "utcnow", "today")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
    }
    assert used <= STAMPS.keys()


def test_row_30_two_runs_in_one_folder(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setitem(locked.__wrapped__.__kwdefaults__, "wait_seconds", 0.0)
    folder = tmp_path / "run"
    folder.mkdir()
    with Holder(folder) as process, pytest.raises(RunError, match=f"in use by process {process.pid}"):
        run(recipe_file(), into=folder)
    assert [path.name for path in folder.iterdir()] == [NAME]
    run(recipe_file(), into=folder)
    assert not (folder / NAME).exists()
