"""What a run says at the terminal: the plan, progress, the table of scores, and what to do next.

On a terminal a live progress bar; elsewhere plain lines, at most some dozens, without escapes or carriage returns.
Always attached by `sslkit run`.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sslkit import duration, hookimpl, mean_and_deviation, safe_text, shown_interval, shown_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sslkit import Outcome, PretrainState, Result, RunInfo

_PLAIN_LINES: Final = 60  # of progress in a whole pretraining, where there is no terminal
_SETTLING_STEPS: Final = 5  # before an estimate: the first steps allocate and warm up
_COLUMNS: Final = 3  # evaluations side by side; more are rows
_WIDTH: Final = 110  # of tables in a file, where no terminal says


class Console:
    """Writes what happens to standard output: `pretrain(..., callbacks=[Console()])`; `sslkit run` always does.

    A reader that has gone, such as `head -1`, ends the words and not the run.
    """

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        plain: dict[str, Any] = {} if self._live else {"width": _WIDTH, "no_color": True}
        self._rich = _Terminal(file=sys.stdout, highlight=False, **plain)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._run: RunInfo | None = None
        self._started = 0.0
        self._first_step = 0
        self._estimated = False
        self._rate = 0.0
        self._wait = 0.0
        self._warnings = _Warnings(self)

    def say(self, line: object) -> None:
        """Write one line."""
        self._write(Text(safe_text(line)))

    @hookimpl
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Show the plan."""
        self._run = run
        logging.getLogger("sslkit").addHandler(self._warnings)
        width = max(len(label) for label, _ in run.plan)
        for label, value in run.plan:
            self.say(f"{label:>{width}}  {value}")
        self.say(f"{'run folder':>{width}}  {run.folder}")
        for warning in run.warnings:
            self.say(f"warning: {warning}")

    @hookimpl
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Begin to count."""
        self._started = time.monotonic()
        self._first_step = state.step
        if 0 < state.step < state.total_steps:
            self.say(f"going on after step {state.step:,}")
        if self._live and state.step < state.total_steps:
            self._progress = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]}  {task.fields[speed]}  {task.fields[wait]}"),
                TimeRemainingColumn(),
                console=self._rich,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task(
                "", total=state.total_steps, completed=state.step, epoch="1", loss="…", speed="", wait=""
            )

    @hookimpl
    def sslkit_metrics(self, state: PretrainState, record: dict[str, float]) -> None:
        """Show one step's numbers."""
        step = int(record["step"])
        share = 0.1  # smoothing: about the last ten steps
        self._rate += (record["images_per_second"] - self._rate) * (1.0 if self._rate == 0.0 else share)
        self._wait += (record["data_wait"] - self._wait) * share
        loss = f"{record['loss']:.4f}"
        speed, wait = (
            f"{self._rate:,.{0 if self._rate >= 10 else 1}f} images/s",
            f"data wait {self._wait * 1000:.0f} ms",
        )
        if not self._estimated and step - self._first_step >= _SETTLING_STEPS:
            self._estimated = True
            seconds = (state.total_steps - step) * state.batch_size / self._rate
            self.say(f"expected: {duration(seconds)} of pretraining at {speed}")
        if self._progress is not None:
            epoch = f"{int(record['epoch']) + 1}/{state.epochs}"
            self._progress.update(self._task, completed=step, epoch=epoch, loss=loss, speed=speed, wait=wait)
        elif not self._live and (step % max(1, -(-state.total_steps // _PLAIN_LINES)) == 0):
            left = (state.total_steps - step) * state.batch_size / self._rate
            self.say(
                f"step {step:,}/{state.total_steps:,}  epoch {int(record['epoch']) + 1}/{state.epochs}  loss {loss}  "
                f"{speed}  {wait}  {duration(left)} left"
            )
        if step == state.total_steps:
            self._close()
            self.say(f"pretrained in {duration(time.monotonic() - self._started)}, last loss {loss}")

    @hookimpl
    def sslkit_evaluation_end(self, run: RunInfo, name: str, outcome: Outcome) -> None:
        """Show one score as it comes."""
        result = run.results[-1]
        interval = shown_interval(outcome.headline, result.interval)
        sure = f" (95 % interval {interval})" if interval else ""
        score = shown_value(outcome.headline, outcome.metrics[outcome.headline])
        self.say(f"{name}, {result.data}: {outcome.headline} {score}{sure}")

    @hookimpl
    def sslkit_run_failed(self, error: BaseException) -> None:
        """Leave the terminal as it was, and say how to go on."""
        self._close()
        logging.getLogger("sslkit").removeHandler(self._warnings)
        if self._run is not None:
            folder = self._run.folder
            asked = isinstance(error, KeyboardInterrupt) or hasattr(error, "exit_code")
            first = "" if asked else "once the error below is corrected, "
            self.say(f"the run so far is in {folder}; {first}the same command with --into {folder} goes on")

    @hookimpl
    def sslkit_run_end(self, summary: dict[str, Any]) -> None:
        """Show the table of scores and how to load the backbone."""
        logging.getLogger("sslkit").removeHandler(self._warnings)
        assert self._run is not None
        for name, reason in summary["skipped"].items():
            self.say(f"skipped: {name}: {reason}")
        if summary["results"]:
            self._write(score_table(self._run))
        self.say(f"done in {duration(summary['seconds'])}; everything is in {self._run.folder}")
        if self._run.recipe.pretrain is not None:
            self.say("to use the backbone:")
            self.say("    import sslkit")
            self.say(f'    backbone = sslkit.load_backbone("{self._run.folder}")  # images in [0, 1] -> features')

    def _close(self) -> None:
        """End the live display, so that lines stand below each other again."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _write(self, what: Text | Table) -> None:
        self._rich.print(what, soft_wrap=isinstance(what, Text))


class _Warnings(logging.Handler):
    """Shows what sslkit warns of between the lines of progress."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.say(f"warning: {record.getMessage()}")


class _Terminal(RichConsole):
    """Falls silent when its reader has gone, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the flush at exit fail


def score_table(run: RunInfo) -> Table:
    """Return the headline scores: a row per kind of features, a column per evaluation; turned round if those are many.

    Several seeds are averaged, with their deviation.
    """
    scores: dict[str, dict[str, list[Result]]] = {}
    titles_of: dict[int, str] = {}
    for result in run.results:
        titles_of.setdefault(result.index, _title(result, titles_of.values()))
        of_evaluation = scores.setdefault(titles_of[result.index], {})
        of_evaluation.setdefault(result.title, []).append(result)
    titles = list(dict.fromkeys(result.title for result in run.results))
    turned = len(scores) > _COLUMNS
    names = list(scores) if len({result.data for result in run.results}) > 1 else [n.partition("\n")[0] for n in scores]
    cells = [[_cell(of_evaluation.get(title, [])) for title in titles] for of_evaluation in scores.values()]
    columns, rows, inner = titles, names, cells
    if not turned:
        columns, rows, inner = names, titles, [list(row) for row in zip(*cells, strict=True)]
    table = Table(title=f"{run.name}: test scores", title_justify="left")
    table.add_column("evaluation" if turned else "features")
    for name in columns:
        table.add_column(Text(safe_text(name)), justify="right")
    for name, values in zip(rows, inner, strict=True):
        # In a plain string, rich would take [/x] for markup.
        table.add_row(Text(safe_text(name.replace("\n", ", ") if turned else name)), *values)
    return table


def _title(result: Result, taken: Iterable[str]) -> str:
    """Return the title of an evaluation's column, numbered where one of the same data has it already."""
    numbers = itertools.chain([""], (f" {count}" for count in itertools.count(2)))
    titles = (f"{result.evaluation}{number} {result.outcome.headline}\n{result.data}" for number in numbers)
    return next(title for title in titles if title not in set(taken))


def _cell(results: list[Result]) -> str:
    if not results:
        return ""
    headline = results[0].outcome.headline
    value, deviation = mean_and_deviation([result.outcome.metrics[headline] for result in results])
    return shown_value(headline, value, deviation)
