"""Signals that end a run in good order: the step is finished, a checkpoint saved, the reason written.

SIGTERM and SIGUSR1 (a scheduler's notice) and a first Ctrl-C ask; a second Ctrl-C stops at once. Called by `run` and
`pretrain`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

from sslkit.engine.distributed import Vote, world_size
from sslkit.errors import SslkitError

EXIT_STOPPED: Final = 75  # EX_TEMPFAIL of sysexits.h: try again
STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))


_listening: list[Stops] = []


class Stopped(SslkitError):
    """The run was asked to stop and did, in good order; calling it again goes on."""

    exit_code = EXIT_STOPPED


class Stops:
    """Remembers a stop signal until the step is done; a context manager around a run.

    Attributes:
        requested: Name of the signal that asked, or None.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._vote = Vote()
        self._former: dict[int, Any] = {}

    @classmethod
    def current(cls) -> Stops:
        """Return the innermost one that listens to signals, or one that hears none: what an evaluation trains by."""
        return _listening[-1] if _listening else cls()

    def __enter__(self) -> Stops:
        _listening.append(self)
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in STOP_SIGNALS:
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _listening.remove(self)
        for number, former in self._former.items():
            signal.signal(number, former)

    def ask(self) -> None:
        """Before a step: let the other ranks know whether this one was asked to stop."""
        if world_size() > 1:
            self._vote.cast(0 if self.requested is None else signal.Signals[self.requested].value)

    def agreed(self) -> str | None:
        """After the step: return the signal to stop for, the same on all ranks, or None."""
        if world_size() == 1:
            return self.requested
        number = self._vote.outcome()
        return signal.Signals(number).name if number else None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested is not None:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
