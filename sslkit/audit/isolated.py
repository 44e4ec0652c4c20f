"""A function over many items, in processes that may die: the item that kills one is named, the others go on.

Enters: a function and its items. Leaves: each item's result, or why there is none. Called by the audit: decoders are C
code, and a damaged file can make one crash, hang, or ask for more memory than there is.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final, NamedTuple, TypeVar

from sslkit.errors import SslkitError

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD: Final = 2  # items with one process: it never waits for the next, and few must be given anew when it dies


class Failure(NamedTuple):
    """Why an item has no result.

    Attributes:
        reason: For people, without a capital letter.
    """

    reason: str


def isolated(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None, seconds: float = 300
) -> Iterator[tuple[int, Result | Failure]]:
    """Yield each item's position and result, in the order in which they are ready.

    Processes are spawned: the function and items are pickled, and the function must be importable by its name.

    Args:
        function: Called with one item. An exception, too, is a failure of this item only.
        items: All of them.
        workers: Number of processes; default: one per core.
        seconds: After so long on one item its process is ended.

    Raises:
        SslkitError: A process cannot even start.
    """
    waiting = deque(enumerate(items))
    count = min(max(1, workers or cores()), len(items))
    processes = [_Process(function) for _ in range(count)]
    try:
        while waiting or any(process.given for process in processes):
            for process in processes:
                process.give(waiting)
            ready = set(wait([process.connection for process in processes], timeout=1))
            for number, process in enumerate(processes):
                if process.connection in ready:
                    try:
                        answer = process.answer()
                    except (EOFError, ConnectionResetError):
                        answer = process.end(waiting)
                        processes[number] = _Process(function)
                    if answer is not None:
                        yield answer
                elif process.given and time.monotonic() - process.since > seconds:
                    process.reason = f"reading it took more than {seconds:g} s"
                    process.kill()  # its connection then ends, as that of any process that dies
    finally:
        for process in processes:
            process.kill()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Process:
    """A process, and the items that it has been given and not yet answered."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # Spawned, so that it inherits no thread, no lock, and no other process's end of a connection.
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.given: deque[tuple[int, Any]] = deque()
        self.since = time.monotonic()  # when it began the first of them
        self.reason = ""
        self._started = False
        self._process = context.Process(target=_serve, args=(function, far_end), daemon=True)
        self._process.start()
        far_end.close()  # so that the connection ends when the process does

    def give(self, waiting: deque[tuple[int, Any]]) -> None:
        while self._started and waiting and len(self.given) < _AHEAD:
            if not self.given:
                self.since = time.monotonic()
            self.given.append(waiting.popleft())
            with contextlib.suppress(OSError):  # it has died: its connection will say so
                self.connection.send(self.given[-1][1])

    def answer(self) -> tuple[int, Any] | None:
        result = self.connection.recv()
        if not self._started:
            self._started = True
            return None
        self.since = time.monotonic()
        return self.given.popleft()[0], result

    def end(self, waiting: deque[tuple[int, Any]]) -> tuple[int, Failure] | None:
        """Return the failure of the item at which it died, and give back the others."""
        self._process.join()
        code = self._process.exitcode or 0
        if not self._started:
            raise SslkitError(
                f"a process to read images cannot start ({_ending(code)}); see that there is memory left, "
                'and in a script call this below `if __name__ == "__main__":`'
            )
        self.connection.close()
        if not self.given:
            return None
        position, _ = self.given.popleft()
        waiting.extendleft(reversed(self.given))
        return position, Failure(self.reason or f"the process that read it died ({_ending(code)})")

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name
    return f"signal {-code}"


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the caller ends this process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries print what they think of a file; the result says it
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except (EOFError, ConnectionResetError):  # the caller has gone
            return
        try:
            result = function(item)
        except Exception as error:
            result = Failure(str(error) or type(error).__name__)
        connection.send(result)
