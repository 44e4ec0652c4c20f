"""What a rank tells its launcher: how it failed, where it is, and that it lives no longer than the launcher.

The exchange is a folder that all ranks of one start see. Enters: the work of a rank. Leaves there: `rank-R.json`, its
`Report`; `rank-R.asked`, the stacks of its threads when the launcher asked for them; beside those of the engine,
`rank-R.stacks` when a step took too long, and `run`, the run's folder. Called by `__main__` in a rank; `verdict` and
`local` read it in the launcher.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sslkit.errors import RunError, SslkitError
from sslkit.run_folder import read_json, write_json
from sslkit.text import one_line

# Exit codes of a rank, and of the whole.
CRASH: Final = 1
MISTAKE: Final = 2
STOPPED: Final = 75
INTERRUPTED: Final = 130

# What gloo and NCCL say in a rank that has lost another one, or waited for it in vain.
_PEER_LOST: Final = re.compile(
    r"\bgloo\b|\bnccl\b|connection (closed|reset) by peer|timed out waiting|collective operation timeout"
    r"|application timeout|pair closure|broken pipe",
    re.IGNORECASE,
)


class Report(NamedTuple):
    """How one rank ended.

    Attributes:
        rank: Which.
        time: When, in seconds since 1970: the first failure is the cause of the others.
        code: Exit code.
        lines: What to say, one line each.
        details: What to show before them if it is no user's mistake: a traceback, the last lines of its output.
        consequence: It looks as if another rank had failed before.
    """

    rank: int
    time: float
    code: int
    lines: list[str]
    details: str = ""
    consequence: bool = False

    @property
    def failed(self) -> bool:
        """Whether this is an error, and not a stop in good order."""
        return self.code in (CRASH, MISTAKE)

    def write(self, exchange: Path) -> None:
        """Put it where the launcher looks."""
        write_json(exchange / f"rank-{self.rank}.json", self._asdict())


def read_reports(exchange: Path) -> dict[int, Report]:
    """Return what there is, by rank."""
    reports = {}
    for path in exchange.glob("rank-*.json"):
        try:
            report = Report(**(read_json(path) or {}))
        except (RunError, TypeError):  # on a network disk a file may be there before its contents
            continue
        reports[report.rank] = report
    return reports


def as_rank(exchange: Path, work: Callable[[], int]) -> int:
    """Do the work of a rank; an error goes to the launcher, which says it once for all.

    Args:
        exchange: The folder of this start.
        work: What to do; returns an exit code.

    Returns:
        The exit code.
    """
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    faulthandler.enable()
    with stacks_path(exchange, rank, asked=True).open("w", encoding="utf-8") as stacks:
        faulthandler.register(signal.SIGUSR2, stacks)
        try:
            return work()
        except (Exception, KeyboardInterrupt) as error:
            report = _report(error, rank, size)
            try:
                report.write(exchange)
            except OSError:  # a full disk may be the very error
                traceback.print_exc()
            return report.code
        finally:
            faulthandler.unregister(signal.SIGUSR2)


def stacks_path(exchange: Path, rank: int, *, asked: bool = False) -> Path:
    """Return where the stacks of a rank's threads are, if it wrote them by itself or when asked."""
    return exchange / f"rank-{rank}.{'asked' if asked else 'stacks'}"


def wrote_stacks(exchange: Path, rank: int) -> bool:
    """Whether a rank wrote by itself where it is: a step took too long."""
    path = stacks_path(exchange, rank)
    return path.exists() and path.stat().st_size > 0


def _report(error: BaseException, rank: int, size: int) -> Report:
    text = "".join(traceback.format_exception(error))
    consequence = any(map(_is_consequence, _causes(error)))
    now = time.time()
    if isinstance(error, KeyboardInterrupt):
        return Report(rank, now, INTERRUPTED, [])
    if isinstance(error, SslkitError):
        lines = [one_line(problem, 1000) for problem in getattr(error, "problems", [error])]
        return Report(rank, now, getattr(error, "exit_code", MISTAKE), lines, text, consequence)
    who = f"rank {rank} of {size}"
    *_, frame = traceback.extract_tb(error.__traceback__)
    line = f"{who}: {type(error).__name__}: {one_line(error)} (at {frame.filename}:{frame.lineno})"
    return Report(rank, now, CRASH, [line], f"{who} failed:\n{text}", consequence)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_consequence(error: BaseException) -> bool:
    if type(error).__module__.startswith("torch.distributed"):
        return True
    return isinstance(error, RuntimeError) and _PEER_LOST.search(str(error)) is not None


def _end_with_launcher() -> None:
    """Wait for the end of standard input, a pipe that the launcher holds open as long as it lives; then end at once.

    Loader processes are in the rank's process group and end with it.
    """
    while os.read(0, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(CRASH)
