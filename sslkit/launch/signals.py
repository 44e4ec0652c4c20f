"""Signals that ask a launcher to stop: noted as they come, passed on to the ranks when there are any.

Called by `local`, and by `cli.run` for the seconds before a run listens itself, in `engine.stops`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

from sslkit.launch.exchange import STOPPED

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""Those that the ranks answer by a stop in good order."""


class StopSignals:
    """Notes stop signals inside a `with` block; its handlers do nothing else, so that no rank is ever missed.

    Attributes:
        received: Numbers of all that came, in order.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._passed_on = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in STOP_SIGNALS:
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    @property
    def insisting(self) -> bool:
        """Whether Ctrl-C came twice: stop at once."""
        return self.received.count(signal.SIGINT) > 1

    def new(self) -> list[int]:
        """Return those that came since the last call."""
        fresh = self.received[self._passed_on :]
        self._passed_on += len(fresh)
        return fresh

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Until a run listens itself, let a stop signal end the process: nothing is begun that could be saved.

    Libraries are loading then, and an exception in the middle of that is theirs to misunderstand.
    """
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python allows no handlers
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"error: stopped by {signal.Signals(number).name} before the run began\n".encode())
        os._exit(STOPPED)

    former = {number: signal.signal(number, end) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
