"""Two processes that form one world, kept for all checks of a session, since to start them takes seconds.

Enters: a function of a module and its arguments. Leaves: what it returns on each rank. They are started when the first
check needs them, end with this process, and are replaced after a failure: one rank may then wait for the other in vain.
Called by `training`.
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from sslkit.testing.recipes import folder
from sslkit.text import one_line

SIZE: Final = 2
TIMEOUT_SECONDS: Final = 180.0
"""How long a task may take; on a quiet machine it takes less than two, and the first one six more to import torch."""


class PairError(Exception):
    """A task that did not come back: what a rank raised, or that it hangs."""


class _Process:
    """One rank: a fresh interpreter that reads tasks from its standard input."""

    def __init__(self, rank: int, meeting: Path) -> None:
        self.errors = meeting / f"rank-{rank}.txt"
        world = {"RANK": rank, "WORLD_SIZE": SIZE, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": SIZE, "OMP_NUM_THREADS": 1}
        environment = os.environ | {name: str(value) for name, value in world.items()}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # before any task: sslkit itself
        command = [sys.executable, "-m", "sslkit.testing.rank", str(meeting)]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
            )
        self.answers: queue.Queue[Any] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self._listener.start()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream, suppress(Exception):
            while True:
                self.answers.put(pickle.load(stream))
        self.answers.put((None, f"it ended: {one_line(self.errors.read_text(errors='replace')[-300:])}"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        with suppress(OSError):  # what it did not read
            self.process.stdin.close()  # type: ignore[union-attr]
        self._listener.join()


_processes: list[_Process] = []


def in_two_processes(function: Callable[..., Any], *arguments: Any) -> Callable[[], list[Any]]:
    """Begin to run a function on two ranks; what it returns on each comes from the call that is returned.

    Args:
        function: Of a module that a fresh process can import.
        arguments: What can be pickled.
    """
    start()
    # The path by itself: a rank has to have it before it can read where the function is from.
    task = pickle.dumps(list(sys.path)) + pickle.dumps((function, arguments))
    with suppress(OSError):  # a rank that has ended: its answer says so
        for process in _processes:
            pipe = process.process.stdin
            assert pipe is not None
            pipe.write(task)
            pipe.flush()
    return _answers


def start() -> None:
    """Start both processes, unless they run already; they get ready while this one goes on."""
    if not _processes:
        meeting = folder()
        atexit.register(close)  # now: the folder outlives them
        _processes.extend(_Process(rank, meeting) for rank in range(SIZE))


def close() -> None:
    """End both processes; the next task starts new ones."""
    while _processes:
        _processes.pop().end()


def _answers() -> list[Any]:
    end = time.monotonic() + TIMEOUT_SECONDS
    found: dict[int, Any] = {}
    try:
        while len(found) < SIZE:
            for rank, process in enumerate(_processes):
                if rank in found or process.answers.empty():
                    continue
                found[rank], error = process.answers.get()
                if error is not None:
                    raise PairError(f"rank {rank} of {SIZE}: {error}")
            if time.monotonic() > end:
                waiting = " and ".join(f"rank {rank}" for rank in range(SIZE) if rank not in found)
                raise PairError(
                    f"{waiting} of {SIZE} did not come back within {TIMEOUT_SECONDS:g} s: most likely one called a "
                    "collective that the other did not"
                )
            time.sleep(0.002)
    except BaseException:
        close()
        raise
    return [found[rank] for rank in range(SIZE)]
