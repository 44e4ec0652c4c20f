"""Functions run on several ranks: processes that form a world, kept for the whole session, since they start in seconds.

    from sslkit.testing import on_ranks

    def test_two_ranks_have_the_loss_of_one():
        assert on_ranks(loss_of_my_rows) == [loss_of_all_rows()] * 2

Enters: a function of a module and its arguments. Leaves: what it returns on each rank. The processes of a world are
started when it is first needed, end with this process, and are replaced after a failure: one rank may then wait for
another in vain. Called by the tests of plugins, and by `training`.
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

TIMEOUT_SECONDS: Final = 180.0
"""How long a task may take; on a quiet machine most take less than two, and the first one six more to import torch."""


class RankError(Exception):
    """A task that did not come back: what a rank raised, its traceback as a note, or that it hangs."""


def on_ranks(function: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """Return what a function returns on each of several ranks: CPU processes of one thread, joined by gloo.

    There, `torch.distributed`, the collectives of sslkit and `pretrain` work as under torchrun.

    Args:
        function: Of a module that a fresh process can import, such as the test file itself.
        arguments: What can be pickled, as must be what comes back.
        size: How many ranks; 1 is a process by itself, without a group.

    Raises:
        RankError: The function failed on a rank, or did not return within three minutes.
    """
    return begin(function, *arguments, size=size)()


def begin(function: Callable[..., Any], *arguments: Any, size: int = 2) -> Callable[[], list[Any]]:
    """Begin what `on_ranks` does; the call that is returned waits for what it returns."""
    world = started(size)
    # Pickled twice: a rank has to have the path before it can read where the function is from.
    task = pickle.dumps((list(sys.path), pickle.dumps((function, arguments))))
    for process in world:
        process.tell(task)
    return lambda: _answers(world)


def started(size: int = 2) -> list[_Process]:
    """Start the processes of a world, unless they run already; they get ready while this one goes on."""
    if size not in _worlds:
        meeting = folder()
        atexit.register(close)  # now: the folder outlives them
        _worlds[size] = [_Process(rank, size, meeting) for rank in range(size)]
    return _worlds[size]


def close(size: int | None = None) -> None:
    """End all processes, or those of one world; the next task starts new ones."""
    for each in [size] if size else list(_worlds):
        for process in _worlds.pop(each):
            process.end()


class _Process:
    """One rank: a fresh interpreter that reads tasks from its standard input."""

    def __init__(self, rank: int, size: int, meeting: Path) -> None:
        self.errors = meeting / f"rank-{rank}.txt"
        world = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "OMP_NUM_THREADS": 1}
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

    def tell(self, task: bytes) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        with suppress(OSError):  # it has ended: its answer says so
            pipe.write(task)
            pipe.flush()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream, suppress(Exception):
            while True:
                self.answers.put(pickle.load(stream))
        self.answers.put((None, f"it ended: {one_line(self.errors.read_text(errors='replace')[-300:])}", ""))

    def end(self) -> None:
        # Killed, for it has nothing left to do: torch's threads can abort a process while Python is torn down.
        self.process.kill()
        self.process.wait()
        with suppress(OSError):  # what it did not read
            self.process.stdin.close()  # type: ignore[union-attr]
        self._listener.join()


_worlds: dict[int, list[_Process]] = {}


def _answers(world: list[_Process]) -> list[Any]:
    size = len(world)
    end = time.monotonic() + TIMEOUT_SECONDS
    found: dict[int, Any] = {}
    try:
        while len(found) < size:
            for rank, process in enumerate(world):
                if rank in found or process.answers.empty():
                    continue
                found[rank], error, traceback = process.answers.get()
                if error is not None:
                    failure = RankError(f"rank {rank} of {size}: {error}")
                    failure.add_note(traceback)
                    raise failure
            if time.monotonic() > end:
                waiting = " and ".join(f"rank {rank}" for rank in range(size) if rank not in found)
                raise RankError(
                    f"{waiting} of {size} did not come back within {TIMEOUT_SECONDS:g} s: most likely one called a "
                    "collective that another did not"
                )
            time.sleep(0.002)
    except BaseException:
        close(size)
        raise
    return [found[rank] for rank in range(size)]
