"""Starts the ranks of this machine, and starts them again after a crash.

Enters: a `Launch`. Leaves: the exit code of the whole; the cause of a failure, last on the screen. Called by
`sslkit run --nproc`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sslkit.launch.exchange import CRASH, STOPPED
from sslkit.launch.meeting import Meeting, Place, meeting
from sslkit.launch.ranks import Ranks
from sslkit.launch.signals import StopSignals
from sslkit.launch.start import ENDING_SECONDS, POLL_SECONDS, Start, folder_named_in
from sslkit.run_folder import newest_step
from sslkit.text import safe_text

FRUITLESS_STARTS: Final = 3
"""After so many in a row that saved no new step, the next would crash too. Source: as nvidia-resiliency-ext does."""


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        command: Of one rank; `--exchange DIR` is added, and `--into DIR` when a run goes on.
        place: This machine among all.
        into: The run folder, if the command names one.
        retries: How often to start again after a crash.
        start_timeout: Seconds to wait for other machines.
        verbose: Show the traceback of a user's mistake too.
    """

    command: Sequence[str]
    place: Place
    into: Path | None = None
    retries: int = 0
    start_timeout: float = 300.0
    verbose: bool = False


def command_of(words: Sequence[str]) -> list[str]:
    """Return the command that runs sslkit with these words in this very environment, whatever the PATH says."""
    as_module = sys.path[0] in ("", str(Path.cwd()))  # else a file in the current folder must not hide a library
    return [sys.executable, *([] if as_module else ["-P"]), "-m", "sslkit", *words]


def supervise(launch: Launch) -> int:
    """Start the ranks and return when none is left.

    Returns:
        0; 1 if a rank crashed, 2 for a user's mistake, 75 stopped in good order, 130 for a second Ctrl-C.

    Raises:
        RunError: The machines do not meet.
    """
    with StopSignals() as signals, meeting(launch.place, signals, launch.start_timeout) as meet:
        try:
            return _starts(launch, signals, meet)
        finally:
            meet.end()


def _starts(launch: Launch, signals: StopSignals, meet: Meeting) -> int:
    """Start the ranks, and again after a crash while that leads anywhere."""
    folder, code, fruitless = launch.into, STOPPED, 0
    reached = 0 if folder is None else newest_step(folder)
    for retry in range(launch.retries + 1):
        start = meet.start(folder if retry else None)
        if start is None:
            return code
        exchange, going_on = start
        command = [*launch.command, *([] if going_on is None else ["--into", str(going_on)])]
        with Ranks(command, launch.place, exchange) as ranks:
            started = Start(ranks, launch.place, exchange, signals, _say, verbose=launch.verbose)
            while started.runs:
                started.step(signals.new())
                time.sleep(POLL_SECONDS)
            code = started.outcome()
        meet.leave(exchange, math.inf if code == STOPPED else ENDING_SECONDS)
        if code != CRASH or signals.received or retry == launch.retries:
            break
        if launch.place.node == 0:
            folder = folder or folder_named_in(exchange)
            step = 0 if folder is None else newest_step(folder)
            fruitless = 0 if step > reached else fruitless + 1
            reached = max(reached, step)
            if fruitless == FRUITLESS_STARTS:
                _say(f"error: {fruitless} starts in a row saved no new step: not started again")
                break
            _say(f"starting again after step {step:,} (retry {retry + 1} of {launch.retries})")
    return code


def _say(text: str) -> None:
    sys.stderr.write(safe_text(text).rstrip("\n") + "\n")
    sys.stderr.flush()
