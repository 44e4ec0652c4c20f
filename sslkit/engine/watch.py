"""A watch on every step: a process that hangs says where, and ends, so that nobody waits for it for ever.

Enters: a heartbeat after each step. Leaves: nothing, or the stacks of all threads and a dead process. Called by
`pretrain`, where several processes would otherwise wait for the one that hangs.
"""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

STEP_SECONDS: Final = 120.0
"""How long a step of several processes may take. Source: torchtitan allows a step 100 s."""


class Watch:
    """Ends this process when no heartbeat has come in time; a context manager around the steps.

    Args:
        step_seconds: Between two heartbeats; None does not watch.
        long_seconds: Where more than a step happens in between: the first step, a checkpoint, the end of an epoch.
        stacks: File for the stacks; None writes them to the terminal.
    """

    def __init__(
        self, step_seconds: float | None = None, *, long_seconds: float = 300.0, stacks: Path | None = None
    ) -> None:
        self._step_seconds = step_seconds
        self._long_seconds = long_seconds
        self._stacks = stacks
        self._file: TextIO = sys.__stderr__ or sys.stderr  # a notebook's own has no file behind it

    def __enter__(self) -> Watch:
        if self._step_seconds is not None and self._stacks is not None:
            self._file = self._stacks.open("w", encoding="utf-8")
        self.beat(long=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._step_seconds is None:
            return
        faulthandler.cancel_dump_traceback_later()
        if self._stacks is not None:
            self._file.close()

    def beat(self, *, long: bool = False) -> None:
        """Say that this process is alive.

        Args:
            long: What comes next may take longer than a step.
        """
        if self._step_seconds is None:
            return
        seconds = max(self._step_seconds, self._long_seconds) if long else self._step_seconds
        # A thread of C: it comes in time even if Python itself hangs.
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._file)
