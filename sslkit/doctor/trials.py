"""Runs of a tiny recipe to be broken on purpose, and what can be said of the folders that they leave.

Enters: a folder to work in. Leaves: how each command ended, and checks that fail with what was found instead. Called by
`rows`. The runs are the real command in processes of its own; their folders are judged without the engine's code.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

from sslkit.run_folder import checkpoint_steps

RECIPE: Final = Path(__file__).parent / "trial" / "trial.toml"

COMMAND: Final = (sys.executable, "-m", "sslkit")

_SECONDS: Final = 100.0  # what takes longer hangs: a run of the recipe takes a few seconds
_LAUNCHER: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # of a job that the doctor itself is in


class BrokenPromiseError(Exception):
    """What a run did instead of what sslkit promises."""


def expect(kept: bool, instead: str) -> None:
    """Go on only if a promise was kept.

    Args:
        kept: Whether it was.
        instead: What happened if not.

    Raises:
        BrokenPromiseError: It was not.
    """
    if not kept:
        raise BrokenPromiseError(instead)


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: Exit code; minus the number of the signal that ended it.
        text: All it said.
    """

    code: int
    text: str

    @property
    def last_line(self) -> str:
        """What it said last."""
        return (self.text.strip().splitlines() or ["nothing"])[-1]

    @property
    def began_after(self) -> int:
        """The step of the checkpoint that it went on from; 0 without one."""
        said = re.search(r"going on after step ([\d,]+)", self.text)
        return int(said[1].replace(",", "")) if said else 0


class Bench:
    """Where trials are made; a context manager that leaves no process behind.

    Args:
        folder: Run folders are made in it, and a file beside each with what its commands said.
        recipe: What is run.
        command: sslkit's.
    """

    def __init__(self, folder: Path, recipe: Path = RECIPE, command: Sequence[str] = COMMAND) -> None:
        self.folder = folder
        self._recipe = recipe
        self._command = command
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._lock = Lock()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what still runs, and start nothing any more."""
        with self._lock:
            self._closed = True
        for process in self._processes:
            kill(process)

    def trial(self, name: str) -> Trial:
        """Return a trial with a run folder of this name."""
        return Trial(self, self.folder / name)

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `sslkit run` into a folder, in a session of its own: a Ctrl-C at the terminal is for the doctor."""
        environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER}
        places = (str(self._recipe), "--into", str(folder), "--device", "cpu")
        with output_of(folder).open("ab") as output, self._lock:
            expect(not self._closed, "not tried: the doctor was stopped")
            process = subprocess.Popen(
                [*self._command, "run", *places, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
            self._processes.append(process)
        return process


class Trial:
    """One run folder, and the commands that are tried on it.

    Args:
        bench: Starts them.
        folder: The run's.
    """

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.folder = folder
        self._bench = bench
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0

    def start(self, *arguments: str) -> None:
        """Start the run, or go on with it."""
        output = output_of(self.folder)
        self._said = output.stat().st_size if output.exists() else 0
        self._process = self._bench.start(self.folder, *arguments)

    def wait(self) -> Ended:
        """Wait for the end of what was started.

        Raises:
            BrokenPromiseError: It does not end.
        """
        assert self._process is not None
        try:
            code = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            kill(self._process)
            raise BrokenPromiseError(f"did not end within {_SECONDS:g} s") from None
        said = output_of(self.folder).read_bytes()[self._said :]
        return Ended(code, said.decode(errors="replace"))

    def run(self, *arguments: str) -> Ended:
        """Start, and wait for the end."""
        self.start(*arguments)
        return self.wait()

    def stop_at(self, fault: str, code: int) -> Ended:
        """Run until a fault, and make sure that it was this fault that ended it.

        Raises:
            BrokenPromiseError: The run ended in another way.
        """
        ended = self.run("--fault", fault)
        expect(ended.code == code, f"exit code {ended.code}, not {code}, after {fault}: {ended.last_line}")
        return ended

    def finish(self, *arguments: str) -> Ended:
        """Go on to the end.

        Raises:
            BrokenPromiseError: The run did not get there.
        """
        ended = self.run(*arguments)
        expect(ended.code == 0, f"could not go on (exit code {ended.code}): {ended.last_line}")
        status = self.read("summary.json")["status"]
        expect(status == "finished", f"the summary says {status}")
        return ended

    def signal_after(self, step: int, number: signal.Signals) -> None:
        """Send what was started a signal as soon as a checkpoint of this step or a later one is there."""
        self.wait_for(step)
        assert self._process is not None
        self._process.send_signal(number)

    def wait_for(self, step: int) -> None:
        """Wait for a checkpoint of this step or a later one.

        Raises:
            BrokenPromiseError: It does not come.
        """
        assert self._process is not None
        end = time.monotonic() + _SECONDS
        while max(checkpoint_steps(self.folder / "checkpoints"), default=0) < step:
            expect(time.monotonic() < end, f"no checkpoint of step {step} within {_SECONDS:g} s")
            if self._process.poll() is not None:
                ended = self.wait()
                raise BrokenPromiseError(f"ended before step {step} (exit code {ended.code}): {ended.last_line}")
            time.sleep(0.01)

    def checkpoints(self) -> dict[int, Path]:
        """Return the checkpoints by step, the newest first, each with the bytes that its manifest promises.

        Raises:
            BrokenPromiseError: One has not.
        """
        found = checkpoint_steps(self.folder / "checkpoints")
        for path in found.values():
            for name, entry in json.loads((path / "MANIFEST.json").read_bytes())["files"].items():
                whole = digest(path / name) == entry["sha256"]
                expect(whole, f"{name} of {path.name} has other bytes than its manifest says")
        return found

    def weights(self) -> dict[str, str]:
        """Return the SHA-256 of every file with weights, statistics or the optimizer's state, by its name."""
        found = self.checkpoints()
        expect(bool(found), "there is no checkpoint")
        newest = found[max(found)]
        files = [*self.folder.glob("*.safetensors"), *newest.glob("*.safetensors")]
        return {path.relative_to(self.folder).as_posix(): digest(path) for path in files}

    def expect_weights(self, reference: dict[str, str]) -> None:
        """Compare with an undisturbed run, bit for bit.

        Raises:
            BrokenPromiseError: They differ.
        """
        ours = self.weights()
        different = sorted(name for name in ours.keys() | reference.keys() if ours.get(name) != reference.get(name))
        expect(not different, f"other bits than the undisturbed run's in {', '.join(different)}")

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the run folder."""
        table: dict[str, Any] = json.loads((self.folder / name).read_bytes())
        return table

    def processes(self) -> list[int]:
        """Return the processes that still work on this folder; none is seen where the system has no `/proc`."""
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if os.fsencode(self.folder) in _bytes_of(path).split(b"\0")
        ]


def output_of(folder: Path) -> Path:
    """Return the file that says what the commands on a run folder said."""
    return folder.with_name(f"{folder.name}.txt")


def digest(path: Path) -> str:
    """Return a file's SHA-256, as hex."""
    return sha256(path.read_bytes()).hexdigest()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started in its group, at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has gone by now
        return b""
