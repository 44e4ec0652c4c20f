"""Calls that run on a thread of their own, and never trouble the thread that asks for them.

Enters: calls, from a run's hooks. Leaves: nothing; they happen in order, some time later. Called by the trackers of
this package.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

from sslkit import duration, one_line

CAPACITY: Final = 1000
"""Calls that may wait. At one in ten steps that is 10,000 steps of a tracker that does not answer."""

logger = logging.getLogger("sslkit")


class Background:
    """A bounded queue and the thread that empties it.

    A call that raises is the last one: it is told once, and what comes after is left out, since a tracker that has
    failed once would fail at every step. What does not find room in the queue is left out and counted. The thread is a
    daemon: a call that never returns cannot keep the process alive.

    Args:
        name: What to call it in messages.
        patience_seconds: How long `close` waits for what is still in the queue.
        capacity: Calls that may wait.
    """

    def __init__(self, name: str, *, patience_seconds: float, capacity: int = CAPACITY) -> None:
        self._name = name
        self._patience_seconds = patience_seconds
        self._calls: queue.Queue[Callable[[], Any]] = queue.Queue(capacity)
        self._left_out = 0
        self._failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"sslkit {name}", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Any]) -> None:
        """Have something done; returns at once."""
        if self._failed:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            if not self._left_out:
                logger.warning("%s does not keep up: numbers are left out there; metrics.jsonl has all", self._name)
            self._left_out += 1

    def close(self) -> None:
        """Wait for what is in the queue, but not longer than the patience; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(self._patience_seconds)
        if self._thread.is_alive():
            self._failed = True  # whatever it still does, it takes nothing more from the queue
            logger.warning(
                "%s did not finish within %s: %d calls are left out there; metrics.jsonl has all numbers",
                self._name,
                duration(self._patience_seconds),
                self._calls.qsize() + 1,
            )
        elif self._left_out:
            logger.warning("%s did not keep up: %d calls were left out there", self._name, self._left_out)

    def _work(self) -> None:
        while not self._failed:
            try:
                call = self._calls.get(timeout=0.2)
            except queue.Empty:
                if self._closing.is_set():
                    return
                continue
            try:
                call()
            except BaseException as error:  # a library's SystemExit, too, is not the run's affair
                self._failed = True
                reason = f"{type(error).__name__}: {one_line(error)}"
                logger.warning("%s is given up, the run goes on: %s; metrics.jsonl has all numbers", self._name, reason)
