"""Run a study: every run that a recipe's [sweep] table asks for, then its report.

Examples:
  sslkit sweep recipes/sweeps/table_5_small.toml --dry-run        what it would run, and what that would cost
  sslkit sweep recipes/sweeps/table_5_small.toml                  again, whenever it was stopped: it goes on
  sslkit sweep recipes/sweeps/figure_5_small.toml --jobs 4 --only operations.0=crop --only seed=0
  sslkit sweep recipes/sweeps/figure_5.toml --data-root /data --nproc 8 --part 3/20
  sslkit sweep recipes/sweeps/figure_5.toml --data-root /data --nproc 8 --slurm "gres=gpu:8 time=24:00:00" --parts 20

Runs that have finished are skipped: what counts is a hash of each run's recipe. The same command on several machines,
with one --into on a disk that they share, divides the runs among them.

exit codes: 0 all done, 1 some runs failed, 2 a mistake in what was asked, 75 stopped by a signal and ready to go on
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sslkit.cli import silence_stdout
from sslkit.cli.run import count, positive, seconds

if TYPE_CHECKING:
    from sslkit.launch.sweep import Ending
    from sslkit.recipe.sweep import Point, Sweep
    from sslkit.studies.records import Record

EXIT_CRASH: Final = 1
EXIT_MISTAKE: Final = 2

_WHERE_AND_HOW: Final = ("data_root", "device", "workers", "start_timeout", "step_timeout")
_SWITCHES: Final = ("compile", "deterministic", "skip_absent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, help="a recipe with a [sweep] table")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes to what all runs have in common"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs and what they would cost; run nothing")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="the study goes to DIR/NAME (runs)"
    )
    parser.add_argument("--into", type=Path, metavar="DIR", help="the study goes to this very folder")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LABEL", help="only such runs; may be repeated"
    )
    parser.add_argument("--part", type=part, metavar="I/N", help="only the I-th of N parts of all runs, from 1")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="runs at a time (one for each --nproc devices, or one)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="run what has failed before once more")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (auto)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that load images, of each run")
    parser.add_argument("--nproc", type=positive, metavar="N", default=1, help="processes of each run (1)")
    parser.add_argument("--retries", type=count, metavar="N", default=0, help="fresh starts of a run after a crash (0)")
    parser.add_argument("--compile", action="store_true", help="compile the views")
    parser.add_argument("--deterministic", action="store_true", help="refuse operations that vary from run to run")
    parser.add_argument("--skip-absent", action="store_true", help="leave out evaluations whose data is not there")
    parser.add_argument("--start-timeout", type=seconds, metavar="S", help="as of sslkit run")
    parser.add_argument("--step-timeout", type=seconds, metavar="S", help="as of sslkit run")
    parser.add_argument("--slurm", metavar="OPTIONS", help='submit it to SLURM: "gres=gpu:8 time=24:00:00"')
    parser.add_argument("--parts", type=positive, metavar="N", help="jobs for --slurm; they divide the runs (1)")


def main(arguments: argparse.Namespace) -> int:
    """Run the study, or say what it would run."""
    from sslkit.cli.forecast import dry_run
    from sslkit.errors import RunError
    from sslkit.recipe.sweep import load_sweep
    from sslkit.run_folder import require_writable
    from sslkit.studies.former import former_results
    from sslkit.studies.study import require_free

    sweep = load_sweep(arguments.recipe, arguments.overrides)
    folder = arguments.into or arguments.runs / sweep.name
    chosen = _chosen(sweep, arguments.only, arguments.part)
    for remark in filter(None, (*sweep.remarks, former_results(folder, sweep))):
        _say(f"note: {remark}")
    if arguments.dry_run:
        return dry_run(sweep, chosen, folder, arguments)
    require_writable(folder)
    require_free(folder, sweep.name)
    if arguments.parts is not None and arguments.slurm is None:
        raise RunError("--parts divides the runs among jobs of --slurm; for one of several machines say --part I/N")
    if arguments.slurm is not None:
        return _submit(sweep, folder, arguments)
    return _run(sweep, chosen, folder, arguments)


def _chosen(sweep: Sweep, only: Sequence[str], share: tuple[int, int] | None) -> list[Point]:
    """Return the points that are asked for. Those that share a pretraining are in the same part."""
    points = list(sweep.points)
    allowed: dict[str, list[str]] = {}
    for text in only:
        name, label = _place(sweep, text)
        allowed.setdefault(name, []).append(label)
    for name, wanted in allowed.items():
        points = [point for point in points if ({**point.labels, "seed": str(point.recipe.seed)})[name] in wanted]
    if share is not None:
        groups = list(dict.fromkeys(point.pretraining or point.id for point in sweep.points))
        mine = set(groups[share[0] - 1 :: share[1]])
        points = [point for point in points if (point.pretraining or point.id) in mine]
    return points


def _place(sweep: Sweep, text: str) -> tuple[str, str]:
    """Return the axis and the label that AXIS=LABEL means: an end of a key is enough, and 0.10 is 0.1."""
    from sslkit.errors import RunError
    from sslkit.recipe.axes import SEED, axis_called, same_label
    from sslkit.text import did_you_mean

    name, equals, wanted = text.partition("=")
    if not equals:
        raise RunError(f"--only {text}: say which of its points, as AXIS=LABEL")
    labels = {axis.name: axis.labels for axis in sweep.axes} | {SEED: tuple(map(str, sweep.seeds))}
    axis = axis_called(name, sweep.axes)
    name = name if axis is None else axis.name
    if name not in labels:
        advice = did_you_mean(name, labels) or f"; the axes are {', '.join(labels)}"
        raise RunError(f"--only {text}: no axis is called {name!r}{advice}")
    found = [label for label in labels[name] if same_label(label, wanted)]
    if not found:
        raise RunError(f"--only {text}: {name} has the points {', '.join(labels[name])}")
    return name, wanted if wanted in found else found[0]


def _run(sweep: Sweep, points: Sequence[Point], folder: Path, arguments: argparse.Namespace) -> int:
    from sslkit.cli.forecast import amount, require_ready
    from sslkit.engine.environment import choose_device, cuda_devices
    from sslkit.launch.study import Runs, got_anywhere, slots
    from sslkit.launch.sweep import run_jobs
    from sslkit.studies.study import read_study
    from sslkit.studies.study_report.facts import lacks_of

    choose_device(arguments.device)  # one that is not there shows before any run
    places = slots(arguments.device, cuda_devices(), nproc=arguments.nproc, jobs=arguments.jobs)
    runs = Runs(sweep, folder, _flags(arguments), may_lack_data=arguments.skip_absent)
    left = runs.left(points, retry_failed=arguments.retry_failed)
    require_ready(left, arguments)
    failed = runs.failed(points)
    progress = _Progress(len(points), len(points) - len(left))
    again = f" ({failed} failed: --retry-failed runs them once more)" if failed and not arguments.retry_failed else ""
    _say(f"{folder}: {amount(sweep, points)}, {len(points) - len(left)} of them done{again}")
    code = 0

    def is_mistake(ending: Ending) -> bool:
        return ending.code == EXIT_MISTAKE and not got_anywhere(ending.job)

    for ending in run_jobs(
        runs.jobs(left), places, retries=arguments.retries, is_done=runs.is_done, is_last=is_mistake
    ):
        point = runs.point(ending.job)
        record = None if is_mistake(ending) else runs.note(ending)
        progress.ended(ending.job.name if point is None else point.title, ending, record)
        if progress.finished == 1 and record is not None and not record.failed:
            for lack in lacks_of(read_study(folder)):  # before hours have gone into the others
                _say(f"note: {lack}")
        if is_mistake(ending):
            _say("no other run is begun, for the mistake may be in all of them; correct it and repeat the command")
            code = EXIT_MISTAKE
        elif ending.code not in (0, EXIT_CRASH, EXIT_MISTAKE):
            code = max(code, ending.code)
    _report(folder, points)
    return code or (EXIT_CRASH if runs.failed(points) else 0)


def _report(folder: Path, points: Sequence[Point]) -> None:
    """Draw what there is, and say how much of what was asked for that is, and of the whole study."""
    from sslkit.studies.study import read_study
    from sslkit.studies.study_report.write import write_study_report
    from sslkit.text import counted

    study = read_study(folder)
    if study.records:
        path, *_ = write_study_report(study)
        finished = {record.id for record in study.records if not record.failed}
        told = f"{sum(point.id in finished for point in points)} of {counted(len(points), 'run')}"
        if len(points) < len(study.points):
            told += f", {len(finished)} of the study's {len(study.points)}"
        _say(f"{told}: {path}")


def _flags(arguments: argparse.Namespace) -> list[str]:
    """Return the flags of `sslkit run` that say where and how."""
    given = [(name, getattr(arguments, name)) for name in _WHERE_AND_HOW]
    words = [word for name, value in given if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]
    return [*words, *(f"--{name.replace('_', '-')}" for name in _SWITCHES if getattr(arguments, name))]


def _submit(sweep: Sweep, folder: Path, arguments: argparse.Namespace) -> int:
    from sslkit.launch.slurm import submit
    from sslkit.text import safe_text

    told = submit(
        arguments.words,
        name=sweep.name,
        into=folder,
        runs=arguments.runs,
        jobs=arguments.parts or 1,
        options=arguments.slurm,
    )
    sys.stdout.write(safe_text(told))
    return 0


class _Progress:
    """Says how each run ended, and how long the others may take.

    Attributes:
        finished: Runs that this command has brought to their end.
    """

    def __init__(self, planned: int, done: int) -> None:
        self._planned = planned
        self._done = done
        self._began = time.monotonic()
        self.finished = 0

    def ended(self, title: str, ending: Ending, record: Record | None) -> None:
        """Say it; of a pretraining that several runs share only a failure."""
        from sslkit.text import duration

        if ending.code in (EXIT_CRASH, EXIT_MISTAKE):
            what = f"failed: {ending.reason} (see {ending.job.output})"
        elif ending.code != 0:
            what = "stopped"
        elif record is None:
            return
        else:
            self._done += 1
            self.finished += 1
            what = _score(record)
        pace = (time.monotonic() - self._began) / max(self.finished, 1)
        left = f", {duration(pace * (self._planned - self._done))} left" if self.finished else ""
        _say(f"[{self._done}/{self._planned}] {title}: {what} ({duration(ending.seconds)}{left})")


def _say(text: str) -> None:
    from sslkit.text import safe_text

    try:
        sys.stdout.write(safe_text(text) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone, and the runs go on
        silence_stdout()


def _score(record: Record) -> str:
    from sslkit.studies.wording import measured, shown_value

    row = record.results[0] if record.results else None
    if row is None:
        return "done"
    return (
        f"{row['metric']} {shown_value(row['metric'], row['value'], None)} {measured(row['features'], row['weights'])}"
    )


def part(text: str) -> tuple[int, int]:
    """Read I/N from the command line."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(
            f"{text!r} should be two whole numbers such as 3/20, the first from 1 to the second"
        )
    return int(match[1]), int(match[2])
