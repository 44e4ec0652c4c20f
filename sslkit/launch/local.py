"""Starts the ranks of this machine, watches them, ends them together, and starts them again after a crash.

A clean stop is waited for without limit; a rank that fails ends all others within seconds. Enters: a `Launch`. Leaves:
the exit code of the whole; the cause of a failure, last on the screen. Called by `sslkit run --nproc`.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sslkit.launch.exchange import CRASH, INTERRUPTED, STOPPED, Report, read_reports, wrote_stacks
from sslkit.launch.meeting import Meeting, Place, meeting
from sslkit.launch.ranks import Ranks
from sslkit.launch.signals import StopSignals
from sslkit.launch.verdict import judge
from sslkit.run_folder import newest_step, write_json
from sslkit.text import one_line, safe_text

FRUITLESS_STARTS: Final = 3
"""After so many in a row that saved no new step, the next would crash too. Source: as nvidia-resiliency-ext does."""

# Seconds; together a job that lost a rank is gone in less than 15.
_POLL: Final = 0.05
_LOOK: Final = 0.5  # into the exchange folder, perhaps on a network disk
_ASK: Final = 1.5  # after a failure, where the others are
_TERMINATE: Final = 2.0  # after a failure; until then the true cause may still come
_KILL: Final = 5.0  # after SIGTERM
_INSIST: Final = 3.0  # after a second Ctrl-C
_LINGER: Final = 30.0  # after the first rank, which writes the results, has ended well


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
            code = _Start(launch, ranks, exchange, signals).until_all_have_ended()
        meet.leave(exchange, math.inf if code == STOPPED else _TERMINATE + _KILL)
        if code != CRASH or signals.received or retry == launch.retries:
            break
        if launch.place.node == 0:
            folder = folder or _folder_named_in(exchange)
            step = 0 if folder is None else newest_step(folder)
            fruitless = 0 if step > reached else fruitless + 1
            reached = max(reached, step)
            if fruitless == FRUITLESS_STARTS:
                _say(f"error: {fruitless} starts in a row saved no new step: not started again")
                break
            _say(f"starting again after step {step:,} (retry {retry + 1} of {launch.retries})")
    return code


def _folder_named_in(exchange: Path) -> Path | None:
    path = exchange / "run"
    return Path(path.read_text(encoding="utf-8").strip()) if path.exists() else None


class _Start:
    """Watches the ranks of one start."""

    def __init__(self, launch: Launch, ranks: Ranks, exchange: Path, signals: StopSignals) -> None:
        self._launch = launch
        self._ranks = ranks
        self._exchange = exchange
        self._signals = signals
        self._deaths: dict[int, Report] = {}  # of those that could not report
        self._due: dict[Callable[[], None], float] = {}  # what to do, and when
        self._failing = False
        self._told_to_end = False

    def until_all_have_ended(self) -> int:
        """Return the exit code of the whole; the cause of a failure has been shown then."""
        look = 0.0
        while self._ranks.running:
            for number in self._signals.new():
                self._ranks.send(number)
            if self._signals.insisting:
                self._in(_INSIST, self._kill)
            for rank, code in self._ranks.ended().items():
                self._note(rank, code)
            if time.monotonic() > look:
                look = time.monotonic() + _LOOK
                self._look()
            for action in [action for action, moment in self._due.items() if moment <= time.monotonic()]:
                self._due[action] = math.inf  # once
                action()
            time.sleep(_POLL)
        return self._outcome()

    def _note(self, rank: int, code: int) -> None:
        """Take notice of a rank that has ended."""
        if code in (0, STOPPED):
            if rank in (0, self._launch.place.ranks[0]):
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

    def _outcome(self) -> int:
        """Say how it ended, and return the exit code."""
        place, reports = self._launch.place, self._reports()
        codes = self._ranks.codes.values()
        if self._signals.insisting or INTERRUPTED in codes:
            return INTERRUPTED
        if any(report.failed for report in reports.values()):
            verdict = judge(self._exchange, reports, place.size, verbose=self._launch.verbose)
            here = verdict.rank in place.ranks or (verdict.rank is None and place.node == 0)
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[?25h\n")  # a progress bar hides the cursor, and may have had no time to show it
                sys.stdout.flush()
            _say(verdict.text if here else f"error: rank {verdict.rank} of {place.size}, on another machine, failed")
            if place.node == 0:
                self._note_failure(verdict.text)
            return verdict.code
        if any(code == STOPPED or self._was_asked_to_stop(code) for code in codes):
            stops = [report for report in reports.values() if report.code == STOPPED and report.rank in place.ranks]
            for line in min(stops).lines if stops and place.node == 0 else ():
                _say(f"error: {line}")
            return STOPPED
        for rank in [rank for rank, code in self._ranks.codes.items() if code != 0]:
            _say(f"warning: the work is done, but rank {rank} of {place.size} did not end; it was killed")
        return 0

    def _note_failure(self, text: str) -> None:
        """Leave the cause in the run's folder: its first process may have died, or know the consequence only."""
        folder = _folder_named_in(self._exchange)
        if folder is not None and folder.is_dir():
            reason = one_line(text.rstrip().rpartition("\n")[2].removeprefix("error: "))
            with suppress(OSError):
                write_json(
                    folder / "status.json",
                    {"status": "failed", "reason": reason, "time": time.time(), "pid": os.getpid()},
                )

    def _death(self, rank: int, code: int) -> Report:
        """Report on behalf of a rank that could not."""
        who = f"rank {rank} of {self._launch.place.size}"
        line = f"{who} {_how(code)}"
        words = self._ranks.last_words(rank)
        hung = wrote_stacks(self._exchange, rank)
        return Report(rank, time.time(), CRASH, [line], f"{who} wrote last:\n{words}" if words else "", hung)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and said nothing"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"was killed by {name}{' (often: out of memory)' if -code == signal.SIGKILL else ''}"


def _say(text: str) -> None:
    sys.stderr.write(safe_text(text).rstrip("\n") + "\n")
    sys.stderr.flush()
