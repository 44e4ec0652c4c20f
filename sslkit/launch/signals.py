"""Signals that ask a launcher to stop: noted as they come, passed on to the ranks when there are any.

Called by `local`; the ranks themselves answer them in `engine.stops`.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Final

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
