"""One start of a run's ranks on this machine, watched until the last has ended.

A clean stop is waited for without limit; a rank that fails ends all others within seconds. Enters: ranks that run.
Leaves: the exit code of the whole; the cause of a failure, said last. Called by `local`, and by `sweep` for several
runs at a time.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sslkit.launch.exchange import CRASH, INTERRUPTED, STOPPED, Report, read_reports, wrote_stacks
from sslkit.launch.meeting import Place
from sslkit.launch.ranks import Ranks
from sslkit.launch.signals import StopSignals
from sslkit.launch.verdict import judge
from sslkit.run_folder import write_json
from sslkit.text import one_line

POLL_SECONDS: Final = 0.05
"""Between two steps."""

# Seconds; together a job that lost a rank is gone in less than 15.
_LOOK: Final = 0.5  # into the exchange folder, perhaps on a network disk
_ASK: Final = 1.5  # after a failure, where the others are
_TERMINATE: Final = 2.0  # after a failure; until then the true cause may still come
_KILL: Final = 5.0  # after SIGTERM
_INSIST: Final = 3.0  # after a second Ctrl-C
_LINGER: Final = 30.0  # after the first rank, which writes the results, has ended well

ENDING_SECONDS: Final = _TERMINATE + _KILL
"""How long ranks may take to be gone after a failure."""


def folder_named_in(exchange: Path) -> Path | None:
    """Return the run's folder, which its first rank has written there; None before that."""
    path = exchange / "run"
    return Path(path.read_text(encoding="utf-8").strip()) if path.exists() else None


class Start:
    """The ranks of one start on this machine, watched: a failure of one ends all.

    Args:
        ranks: That run.
        place: This machine among all.
        exchange: Folder of this start.
        signals: Those that came to this process.
        say: Called with each text for the user.
        verbose: Show the traceback of a user's mistake too.
    """

    def __init__(
        self,
        ranks: Ranks,
        place: Place,
        exchange: Path,
        signals: StopSignals,
        say: Callable[[str], object],
        *,
        verbose: bool = False,
    ) -> None:
        self._ranks = ranks
        self._place = place
        self._exchange = exchange
        self._signals = signals
        self._say = say
        self._verbose = verbose
        self._looked = 0.0
        self._deaths: dict[int, Report] = {}  # of those that could not report
        self._due: dict[Callable[[], None], float] = {}  # what to do, and when
        self._failing = False
        self._told_to_end = False

    @property
    def runs(self) -> bool:
        """Whether a rank has not ended."""
        return bool(self._ranks.running)

    def step(self, signals: Sequence[int]) -> None:
        """Do what is due; to be called again and again, some moments apart, while it runs.

        Args:
            signals: Those that came since the last call, to be passed on.
        """
        for number in signals:
            self._ranks.send(number)
        if self._signals.insisting:
            self._in(_INSIST, self._kill)
        for rank, code in self._ranks.ended().items():
            self._note(rank, code)
        if time.monotonic() > self._looked + _LOOK:
            self._looked = time.monotonic()
            self._look()
        for action in [action for action, moment in self._due.items() if moment <= time.monotonic()]:
            self._due[action] = math.inf  # once
            action()

    def _note(self, rank: int, code: int) -> None:
        """Take notice of a rank that has ended."""
        if code in (0, STOPPED):
            if rank in (0, self._place.ranks[0]):
                self._end_in(_LINGER)
        elif self._was_asked_to_stop(code):  # before it could note it
            self._end_in(0)
        elif not self._told_to_end:
            if rank not in self._reports():
                self._deaths[rank] = self._death(rank, code)
                with suppress(OSError):  # the disk may be full; other machines would not learn of it
                    self._deaths[rank].write(self._exchange)
            self._fail()

    def _look(self) -> None:
        """Notice failures of ranks that hang at their end, and of those on other machines."""
        if any(report.failed for report in self._reports().values()):
            self._fail()

    def _fail(self) -> None:
        if not self._failing:
            self._failing = True
            self._in(_ASK, self._ask)
            self._end_in(_TERMINATE)

    def _end_in(self, seconds: float) -> None:
        self._in(seconds, self._terminate)
        self._in(seconds + _KILL, self._kill)

    def _in(self, seconds: float, action: Callable[[], None]) -> None:
        self._due[action] = min(self._due.get(action, math.inf), time.monotonic() + seconds)

    def _ask(self) -> None:
        """Have the ranks that run write where they are, if no cause is known yet."""
        if all(report.consequence for report in self._reports().values() if report.failed):
            self._ranks.send(signal.SIGUSR2)

    def _terminate(self) -> None:
        self._told_to_end = True
        self._ranks.send(signal.SIGTERM)

    def _kill(self) -> None:
        self._told_to_end = True
        self._ranks.kill()

    def _was_asked_to_stop(self, code: int) -> bool:
        received = self._signals.received
        return -code in received or (code == INTERRUPTED and signal.SIGINT in received)

    def _reports(self) -> dict[int, Report]:
        return self._deaths | read_reports(self._exchange)

    def outcome(self) -> int:
        """Say how it ended, now that no rank runs.

        Returns:
            0; 1 if a rank crashed, 2 for a user's mistake, 75 stopped in good order, 130 for a second Ctrl-C.
        """
        place, reports = self._place, self._reports()
        codes = self._ranks.codes.values()
        if self._signals.insisting or INTERRUPTED in codes:
            return INTERRUPTED
        if any(report.failed for report in reports.values()):
            verdict = judge(self._exchange, reports, place.size, verbose=self._verbose)
            here = verdict.rank in place.ranks or (verdict.rank is None and place.node == 0)
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[?25h\n")  # a progress bar hides the cursor, and may have had no time to show it
                sys.stdout.flush()
            self._say(
                verdict.text if here else f"error: rank {verdict.rank} of {place.size}, on another machine, failed"
            )
            if place.node == 0:
                self._note_failure(verdict.text)
            return verdict.code
        if any(code == STOPPED or self._was_asked_to_stop(code) for code in codes):
            stops = [report for report in reports.values() if report.code == STOPPED and report.rank in place.ranks]
            for line in min(stops).lines if stops and place.node == 0 else ():
                self._say(f"error: {line}")
            return STOPPED
        for rank in [rank for rank, code in self._ranks.codes.items() if code != 0]:
            self._say(f"warning: the work is done, but rank {rank} of {place.size} did not end; it was killed")
        return 0

    def _note_failure(self, text: str) -> None:
        """Leave the cause in the run's folder: its first process may have died, or know the consequence only."""
        folder = folder_named_in(self._exchange)
        if folder is not None and folder.is_dir():
            reason = one_line(text.rstrip().rpartition("\n")[2].removeprefix("error: "))
            with suppress(OSError):
                write_json(
                    folder / "status.json",
                    {"status": "failed", "reason": reason, "time": time.time(), "pid": os.getpid()},
                )

    def _death(self, rank: int, code: int) -> Report:
        """Report on behalf of a rank that could not."""
        who = f"rank {rank} of {self._place.size}"
        line = f"{who} {_how(code)}"
        words = self._ranks.last_words(rank)
        hung = wrote_stacks(self._exchange, rank)
        return Report(rank, time.time(), CRASH, [line], f"{who} wrote last:\n{words}" if words else "", hung)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and said nothing"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"was killed by {name}{' (often: out of memory)' if -code == signal.SIGKILL else ''}"
