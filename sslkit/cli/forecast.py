"""What the runs of a study need and will cost, said before the first one begins. No command.

Enters: a study, and the points that are asked for. Leaves: the list that `sslkit sweep --dry-run` prints, or an error
that says what runs would stop for. Called by `sweep`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sslkit.engine.cost import Cost, Estimator
    from sslkit.recipe.sweep import Point, Sweep
    from sslkit.studies.records import Record

_SAY_AGAIN: Final = 10.0  # seconds between two lines of progress where there is no terminal


def require_ready(points: Sequence[Point], arguments: argparse.Namespace) -> None:
    """Refuse what a run would stop for at its start: data that are not there, or parts that do not fit each other.

    Args:
        points: Of the runs that are to begin.
        arguments: Of `sslkit sweep`.

    Raises:
        RecipeError: With every such fault, its place, and whose it is.
    """
    from sslkit.engine.cost import Estimator
    from sslkit.engine.environment import choose_device
    from sslkit.errors import RecipeError, SslkitError

    estimator, faults = Estimator(data_root=arguments.data_root, device=choose_device("cpu"), measure=False), _Faults()
    for point in points:
        faults.note_absent(point, estimator, arguments)
        try:
            estimator.estimate(point.recipe)
        except SslkitError as error:
            faults.note(point, str(error))
        except Exception:  # what cannot be counted may well run
            continue
    if found := faults.lines(len(points)):
        raise RecipeError(found)


def dry_run(sweep: Sweep, points: Sequence[Point], folder: Path, arguments: argparse.Namespace) -> int:
    """List the runs, what each would cost, and what is left of the study; faults come last.

    Args:
        sweep: The study.
        points: That are asked for.
        folder: Of the study.
        arguments: Of `sslkit sweep`.

    Raises:
        RecipeError: Some runs could not begin; all others are listed.
    """
    from sslkit.errors import RecipeError
    from sslkit.studies.records import read_records
    from sslkit.text import safe_text

    forecast = _Forecast(sweep, read_records(folder), arguments)
    with _progress(len(points)) as advance:
        for point in points:
            sys.stdout.write(safe_text(f"{point.number:5}  {forecast.of(point):>12}  {point.title}\n"))
            sys.stdout.flush()
            advance()
    sys.stdout.write(safe_text(f"{amount(sweep, points)}, {forecast.summary()}\n"))
    sys.stdout.flush()
    for line in forecast.absent.lines(len(points)):
        sys.stderr.write(safe_text(f"warning: {line}\n"))
    if found := forecast.faults.lines(len(points)):
        raise RecipeError(found)
    return 0


def amount(sweep: Sweep, points: Sequence[Point]) -> str:
    """Return how many runs are asked for, in words."""
    from sslkit.text import counted

    every = counted(len(sweep.points), "run")
    return every if len(points) == len(sweep.points) else f"{len(points):,} of the study's {every}"


class _Forecast:
    """What is known of each run, and what those that are left cost together."""

    def __init__(self, sweep: Sweep, records: Mapping[str, Record], arguments: argparse.Namespace) -> None:
        from sslkit.engine.cost import Estimator
        from sslkit.engine.environment import choose_device
        from sslkit.launch.study import shared_pretrainings, usual_seconds_beside

        self.faults, self.absent = _Faults(), _Faults()
        self._arguments = arguments
        self._records = records
        self._estimator = Estimator(data_root=arguments.data_root, device=choose_device(arguments.device))
        self._usual = usual_seconds_beside(records.values())
        # Until a run has shown it: what this process took so far is the start of a run, and little else.
        self._beside = time.process_time() if self._usual is None else self._usual
        self._shared, self._pretrained = shared_pretrainings(sweep), set[str]()
        self._costs: list[Cost] = []
        self._ended: list[Record] = []

    def of(self, point: Point) -> str:
        """Return how a run has ended, or else what it will take."""
        from sslkit.errors import SslkitError
        from sslkit.text import span

        record = self._records.get(point.id)
        if record is not None and not (record.failed and self._arguments.retry_failed):
            self._ended.append(record)
            return record.status
        self.absent.note_absent(point, self._estimator, self._arguments)
        try:
            cost = replace(self._estimator.estimate(point.recipe), beside=self._beside)
        except SslkitError as error:
            self.faults.note(point, str(error))
            return "cannot begin"
        if point.pretraining in self._pretrained:
            cost = replace(cost, pretraining=None)
        elif point.pretraining in self._shared:
            self._pretrained.add(point.pretraining)
            cost = replace(cost, beside=2 * self._beside)  # the pretraining is a run of its own
        self._costs.append(cost)
        return "unknown" if cost.seconds is None else span(cost.seconds)

    def summary(self) -> str:
        """Return how many runs have ended, and what is left to do."""
        from sslkit.engine.cost import total
        from sslkit.text import span

        failed = sum(record.failed for record in self._ended)
        told = f"{len(self._ended)} of them done{f', {failed} failed' if failed else ''}"
        if not self._costs:
            return told
        how = "to start and to write its page, the median of those that have finished here"
        if self._usual is None:
            how = "to start, as long as this command took; what its page and its classifiers take is not in it"
        return f"{told}\nto do: {total(self._costs).describe()}\nof that {span(self._beside)} for each run {how}"


class _Faults:
    """Collects what runs would stop for, each fault once, with the runs that have it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[Point]] = {}

    def note(self, point: Point, reason: str) -> None:
        """Note a fault, which most often begins with the key that it is about."""
        self._found.setdefault((point.where(reason), reason), []).append(point)

    def note_absent(self, point: Point, estimator: Estimator, arguments: argparse.Namespace) -> None:
        """Note the data that a run would not find."""
        where = "" if arguments.data_root is not None else "; say --data-root DIR if it lies elsewhere"
        for error in estimator.lacking(point.recipe, skip_absent=arguments.skip_absent).values():
            self.note(point, f"{error}{where}")

    def lines(self, num_points: int) -> list[str]:
        """Return a line for each fault; whose it is, if it is not that of all points."""
        from sslkit.text import counted, one_line

        lines = []
        for (place, reason), points in self._found.items():
            others = f" and {counted(len(points) - 1, 'other')}" if len(points) > 1 else ""
            whose = f"{points[0].title}{others}: " if len(points) < num_points else ""
            lines.append(one_line(f"{place} {whose}{reason}", 1000))
        return lines


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Yield what to call after each run: on stderr it shows a bar on a terminal, and else a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("trying steps of"), MofNCompleteColumn(), TextColumn("runs"), BarColumn())
    said, done = time.monotonic(), 0
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what goes elsewhere has to stay there
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=total)

        def advance() -> None:
            nonlocal said, done
            done += 1
            bar.advance(task)
            if not console.is_terminal and time.monotonic() - said > _SAY_AGAIN:
                said = time.monotonic()
                sys.stderr.write(f"estimated {done} of {total} runs\n")
                sys.stderr.flush()

        yield advance
