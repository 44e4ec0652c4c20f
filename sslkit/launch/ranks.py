"""The processes of one start on this machine: started, told to stop, and never left behind.

Each has a session of its own, so that a terminal's Ctrl-C comes once, through the launcher; its standard input is a
pipe that ends with the launcher. Enters: a command. Leaves: exit codes. Called by `local`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from sslkit.launch.meeting import Place

_TAIL_LINES: Final = 20


class Ranks:
    """The processes; at the end of a `with` block none is left, loader processes included.

    Attributes:
        codes: Exit codes of those that have ended, by rank; -9 for SIGKILL.
    """

    def __init__(
        self,
        command: Sequence[str],
        place: Place,
        exchange: Path,
        *,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        """Start them.

        Args:
            command: Of one rank; the exchange folder is added to it.
            place: This machine.
            exchange: Folder of this start; all but the first rank write their output there.
            environment: Variables beside this process's own.
            output: Where the first rank's output is added; None is the terminal.
        """
        self.codes: dict[int, int] = {}
        self._exchange = exchange
        self._first_output = output
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._pids: list[int] = []
        lifeline, self._held = os.pipe()
        try:
            for local, rank in enumerate(place.ranks):
                variables = _environment(place, rank, local, environment or {})
                self._start([*command, "--exchange", str(exchange)], rank, variables, lifeline)
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(lifeline)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for process in self._running.values():
            process.wait()
        os.close(self._held)

    @property
    def running(self) -> list[int]:
        """Ranks that have not ended."""
        return list(self._running)

    def ended(self) -> dict[int, int]:
        """Return the exit codes of ranks that have ended since the last call."""
        fresh = {rank: code for rank, process in self._running.items() if (code := process.poll()) is not None}
        for rank in fresh:
            _kill_group(self._running.pop(rank).pid)  # loader processes that outlived it
        self.codes |= fresh
        return fresh

    def send(self, number: int) -> None:
        """Send a signal to every rank that runs."""
        for process in self._running.values():
            process.send_signal(number)

    def kill(self) -> None:
        """Kill every rank that runs, with its loader processes."""
        for process in self._running.values():
            _kill_group(process.pid)

    def last_words(self, rank: int) -> str:
        """Return the end of what a rank wrote; empty if that is on the terminal."""
        path = self._output(rank)
        if path is None or not path.exists():
            return ""
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return "".join(lines[-_TAIL_LINES:])

    def _start(self, command: Sequence[str], rank: int, environment: dict[str, str], lifeline: int) -> None:
        with ExitStack() as files:
            path = self._output(rank)
            output = None if path is None else files.enter_context(path.open("ab"))
            self._running[rank] = subprocess.Popen(
                command, stdin=lifeline, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def _output(self, rank: int) -> Path | None:
        return self._first_output if rank == 0 else self._exchange / f"rank-{rank}.txt"


def _environment(place: Place, rank: int, local: int, own: Mapping[str, str]) -> dict[str, str]:
    numbers = {"RANK": rank, "WORLD_SIZE": place.size, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": place.nproc}
    environment = os.environ | own | {name: str(number) for name, number in numbers.items()}
    if place.nproc > 1:  # each would take all cores, and they would wait for each other
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // place.nproc)))
    return environment


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kill_group(number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone; macOS says so in its own way
        os.killpg(number, signal.SIGKILL)
