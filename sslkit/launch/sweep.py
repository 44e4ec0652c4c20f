"""Runs the runs of a study, several at a time where there are several devices, until none is left to do.

Each is `sslkit run` in processes of its own, which end with this one. Enters: jobs and places for them. Leaves: one
`Ending` after the other. Called by `sslkit sweep`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sslkit.errors import RunError
from sslkit.launch.exchange import CRASH, STOPPED
from sslkit.launch.local import command_of
from sslkit.launch.meeting import Place
from sslkit.launch.ranks import Ranks
from sslkit.launch.signals import StopSignals
from sslkit.launch.start import POLL_SECONDS, Start
from sslkit.lock import locked
from sslkit.text import one_line

_LOOK_AGAIN: Final = 5.0  # seconds; at a run that another sweep has taken


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        name: Unique; that of its files.
        words: Of the command line.
        folder: Of the run.
        output: What it writes on the terminal is added to this file.
        needs: Name of a job that must have been done before; empty for none.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    output: Path
    needs: str = ""


@dataclass(frozen=True)
class Slot:
    """Where one run at a time can be.

    Attributes:
        nproc: Processes of the run.
        environment: Variables that give them their devices and threads.
    """

    nproc: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How a job ended.

    Attributes:
        job: Which.
        code: 0 done, 1 a crash, 2 a mistake in what was asked, 75 stopped in good order, 130 at once.
        reason: Of a failure, one line.
        seconds: That it took.
    """

    job: Job
    code: int
    reason: str
    seconds: float


class _Running:
    """One job in a slot."""

    def __init__(self, job: Job, slot: Slot, signals: StopSignals, claim: ExitStack) -> None:
        self.job = job
        self.slot = slot
        self._began = time.monotonic()
        self._said: list[str] = []
        self._held = claim
        exchange = Path(tempfile.mkdtemp(prefix="sslkit-sweep-"))
        self._held.callback(shutil.rmtree, exchange, ignore_errors=True)
        place = Place(None, 1, 0, slot.nproc)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        ranks = self._held.enter_context(
            Ranks(command_of(job.words), place, exchange, environment=slot.environment, output=job.output)
        )
        self._start = Start(ranks, place, exchange, signals, self._said.append)

    def step(self, signals: Sequence[int]) -> Ending | None:
        """Watch it; return how it ended, once it has."""
        if self._start.runs:
            self._start.step(signals)
            return None
        code = self._start.outcome()
        self._held.close()
        lines = "\n".join(self._said).strip().splitlines() or [""]
        with self.job.output.open("a", encoding="utf-8") as file:
            file.write("".join(f"{text}\n" for text in self._said))
        return Ending(self.job, code, one_line(lines[-1].removeprefix("error: ")), time.monotonic() - self._began)

    def end(self) -> None:
        """Leave nothing of it running."""
        self._held.close()


def run_jobs(
    jobs: Sequence[Job],
    slots: Sequence[Slot],
    *,
    retries: int = 0,
    is_done: Callable[[Job], bool],
    is_last: Callable[[Ending], bool] = lambda ending: False,
) -> Iterator[Ending]:
    """Run jobs, the first ones first, and yield how each ended.

    A job whose folder another sweep has taken is left to it, and looked at again at the end. After a stop signal no
    job is started, and those that run stop in good order; if none does, the first of the others is yielded as stopped.
    Closing the iterator kills what runs.

    Args:
        jobs: In the order in which to start them.
        slots: How many at a time, and where.
        retries: How often to start a run again after a crash.
        is_done: Whether a job needs no start, because another sweep has done it.
        is_last: Whether a job ended so that no other one is to be started; those that run come to their ends.
    """
    waiting, failed, stopped = list(jobs), dict[str, str](), set[str]()
    open_needs = {job.name for job in jobs}
    crashes = dict.fromkeys((job.name for job in jobs), 0)
    free, running = list(slots), list[_Running]()
    dropped = list[Job]()
    look_at = 0.0
    with StopSignals() as signals, ExitStack() as held:
        held.callback(_end, running)
        while waiting or running:
            fresh = signals.new()
            for each in list(running):
                ending = each.step(fresh)
                if ending is None:
                    continue
                running.remove(each)
                free.append(each.slot)
                look_at = 0.0
                if ending.code == CRASH and crashes[ending.job.name] < retries and not signals.received:
                    crashes[ending.job.name] += 1
                    waiting.insert(0, ending.job)
                    continue
                open_needs.discard(ending.job.name)
                if ending.code == STOPPED:
                    stopped.add(ending.job.name)
                elif ending.code != 0:
                    failed[ending.job.name] = ending.reason
                if is_last(ending):
                    waiting.clear()
                yield ending
            if signals.received:
                dropped += waiting
                waiting.clear()
            if free and waiting and time.monotonic() >= look_at:
                for job in list(waiting):
                    if job.needs in failed:
                        waiting.remove(job)
                        yield Ending(job, CRASH, f"its pretraining failed: {failed[job.needs]}", 0.0)
                    elif job.needs in stopped:
                        waiting.remove(job)
                        yield Ending(job, STOPPED, "", 0.0)
                    elif job.needs not in open_needs and free and (claim := _claim(job)) is not None:
                        waiting.remove(job)
                        if is_done(job):
                            claim.close()
                            open_needs.discard(job.name)
                            yield Ending(job, 0, "", 0.0)
                            continue
                        running.append(_Running(job, free.pop(0), signals, claim))
                look_at = time.monotonic() + _LOOK_AGAIN
            time.sleep(POLL_SECONDS)
        if dropped and not stopped:
            yield Ending(dropped[0], STOPPED, "", 0.0)


def _end(running: Sequence[_Running]) -> None:
    for each in running:
        each.end()


def _claim(job: Job) -> ExitStack | None:
    """Take a job for this process alone; None if another sweep has it. Its own lock comes too late, with its start."""
    folder = job.folder.parent / ".claims" / job.folder.name
    folder.mkdir(parents=True, exist_ok=True)
    held = ExitStack()
    try:
        held.enter_context(locked(folder, wait_seconds=0))
    except RunError:
        return None
    return held
