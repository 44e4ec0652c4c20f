"""Which rank is to blame, and how to say it.

When one rank fails, the others fail after it: they lose a connection, or wait for it until a limit. Enters: what the
ranks of one start left in their exchange folder. Leaves: a `Verdict` that names the first to fail and says what went
wrong, once. Called by `local`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from sslkit.launch.exchange import CRASH, MISTAKE, Report, stacks_path
from sslkit.text import safe_text

_FRAME: Final = re.compile(r'File "(?P<file>.*)", line \d+ in ')
# Where a rank is that waits for others: in a collective, or in a backward pass that reduces gradients.
_WAITING: Final = re.compile(r"/torch/(distributed/|autograd/graph\.py)")
_BRIEFLY: Final = 6  # frames


class Verdict(NamedTuple):
    """Who failed first.

    Attributes:
        rank: Its number; None if it cannot be told.
        code: Exit code of the whole.
        text: What to show.
    """

    rank: int | None
    code: int
    text: str


def judge(exchange: Path, reports: dict[int, Report], size: int, *, verbose: bool = False) -> Verdict:
    """Find the rank that failed by itself.

    Args:
        exchange: The folder of the start.
        reports: Of the ranks that ended; at least one failed, or wrote stacks.
        size: Number of all ranks.
        verbose: Show the traceback of a user's mistake too.
    """
    failed = sorted((report for report in reports.values() if report.failed), key=lambda report: report.time)
    for report in failed:
        if not report.consequence:
            return _told(report, verbose)
    stacks = {rank: text for rank in range(size) if (text := _main_thread(exchange, rank)) is not None}
    busy = [rank for rank, text in stacks.items() if text and not _waits(text)]
    if busy and (len(busy) < len(stacks) or size == 1):
        return _hung(busy[0], f"{_name(busy[0], size)} hung here:\n{stacks[busy[0]]}", size)
    silent = [rank for rank, text in stacks.items() if not text and rank not in reports]
    if silent:
        return _hung(silent[0], f"{_name(silent[0], size)} answers no more: it is stopped, or waits for a disk\n", size)
    told = [report for report in failed if report.details]
    if told:
        return _told(told[0], verbose)
    brief = ("".join(text.splitlines(keepends=True)[:_BRIEFLY]) for text in stacks.values())
    where = "".join(f"{_name(rank, size)} was here:\n{text}" for rank, text in zip(stacks, brief, strict=True) if text)
    return _hung(None, where, size)


def _told(report: Report, verbose: bool) -> Verdict:
    details = report.details if verbose or report.code != MISTAKE else ""
    code = CRASH if report.consequence else report.code
    return Verdict(report.rank, code, safe_text(details) + "".join(f"error: {safe_text(x)}\n" for x in report.lines))


def _hung(rank: int | None, where: str, size: int) -> Verdict:
    who = "the ranks waited for each other" if rank is None else f"{_name(rank, size)} hung"
    line = f"error: {who}; if a step may take longer, raise --step-timeout\n"
    return Verdict(rank, CRASH, safe_text(where) + line)


def _name(rank: int, size: int) -> str:
    return f"rank {rank} of {size}"


def _main_thread(exchange: Path, rank: int) -> str | None:
    """Return the frames of a rank's main thread, the innermost first; empty if it left none, None if it never began."""
    texts = []
    for asked in (False, True):
        path = stacks_path(exchange, rank, asked=asked)
        if path.exists():
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    if not texts:
        return None
    block: list[str] = []
    for line in next(filter(None, texts), "").splitlines(keepends=True):
        if "most recent call first" in line:
            block = []  # faulthandler shows the main thread last
        elif _FRAME.search(line):
            block.append(line)
    return "".join(block)


def _waits(frames: str) -> bool:
    innermost = _FRAME.search(frames)
    return innermost is not None and _WAITING.search(innermost["file"]) is not None
