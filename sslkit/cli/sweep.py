"""Run a study: every run that a recipe's [sweep] table asks for, then its report.

Examples:
  sslkit sweep recipes/sweeps/table_5_small.toml --dry-run        what it would run, and what that would cost
  sslkit sweep recipes/sweeps/table_5_small.toml                  again, whenever it was stopped: it goes on
  sslkit sweep recipes/sweeps/figure_5_small.toml --jobs 4 --only first=crop --only seed=0
  sslkit sweep recipes/sweeps/figure_5.toml --data-root /data --nproc 8 --part 3/20
  sslkit sweep recipes/sweeps/figure_5.toml --data-root /data --nproc 8 --slurm "gres=gpu:8 time=24:00:00" --parts 20

Runs that have finished are skipped: what counts is a hash of each run's recipe. The same command on several machines,
with one --into on a disk that they share, divides the runs among them.

exit codes: 0 all done, 1 some runs failed, 2 a mistake in what was asked, 75 stopped by a signal and ready to go on
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sslkit.cli.run import count, positive, seconds

if TYPE_CHECKING:
    from sslkit.launch.sweep import Ending, Job, Slot
    from sslkit.recipe.sweep import Point, Sweep
    from sslkit.studies.study import Record

_WHERE_AND_HOW: Final = ("data_root", "device", "workers", "start_timeout", "step_timeout")
_SWITCHES: Final = ("compile", "deterministic", "skip_absent")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, help="a recipe with a [sweep] table")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to what all runs have in common")
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
    parser.add_argument("--parts", type=positive, metavar="N", default=1, help="jobs that --slurm submits; they divide the runs (1)")


def main(arguments: argparse.Namespace) -> int:
    """Run the study, or say what it would run."""
    from sslkit.recipe.sweep import load_sweep
    from sslkit.run_folder import require_writable

    sweep = load_sweep(arguments.recipe, arguments.overrides)
    folder = arguments.into or arguments.runs / sweep.name
    chosen = _chosen(sweep, arguments.only, arguments.part)
    if arguments.dry_run:
        return _dry_run(sweep, chosen, folder, arguments)
    require_writable(folder)
    if arguments.slurm is not None:
        return _submit(sweep, folder, arguments)
    return _run(sweep, chosen, folder, arguments)


def _chosen(sweep: Sweep, only: Sequence[str], share: tuple[int, int] | None) -> list[Point]:
    """Return the points that are asked for. Those that share a pretraining are in the same part."""
    from sslkit.errors import RunError
    from sslkit.text import did_you_mean

    points = list(sweep.points)
    allowed: dict[str, list[str]] = {}
    for text in only:
        name, _, label = text.partition("=")
        labels = {axis.name: axis.labels for axis in sweep.axes} | {"seed": tuple(map(str, sweep.seeds))}
        keys = {axis.key: axis.name for axis in sweep.axes if axis.key}
        name = keys.get(name, name)
        if name not in labels:
            raise RunError(f"--only {text}: no axis is called {name!r}{did_you_mean(name, labels)}")
        if label not in labels[name]:
            raise RunError(f"--only {text}: {name} has the points {', '.join(labels[name])}")
        allowed.setdefault(name, []).append(label)
    for name, wanted in allowed.items():
        points = [point for point in points if ({**point.labels, "seed": str(point.recipe.seed)})[name] in wanted]
    if share is not None:
        groups = list(dict.fromkeys(point.pretraining or point.id for point in sweep.points))
        mine = set(groups[share[0] - 1 :: share[1]])
        points = [point for point in points if (point.pretraining or point.id) in mine]
    return points


def _dry_run(sweep: Sweep, points: Sequence[Point], folder: Path, arguments: argparse.Namespace) -> int:
    from sslkit.text import safe_text

    known = _known(folder)
    todo = [point for point in points if point.id not in known]
    for point in points:
        record = known.get(point.id)
        state = "" if record is None else f"  {record.status}"
        sys.stdout.write(safe_text(f"{point.number:4}  {point.title}{state}\n"))
    sys.stdout.write(f"{len(points)} runs, {len(points) - len(todo)} of them done\n")
    return 0


def _run(sweep: Sweep, points: Sequence[Point], folder: Path, arguments: argparse.Namespace) -> int:
    from sslkit.launch.sweep import run_jobs
    from sslkit.studies.study import Record, add_record, record_of, write_plan

    write_plan(folder, sweep)
    known, commit = _known(folder), _commit()
    shared = _shared(sweep)

    def done(point: Point) -> Record | None:
        """Return what another sweep, or this one before it was killed, has found out."""
        record = record_of(point, _run_folder(folder, point), _pretrained(folder, point, shared), commit)
        if record is not None and (_known(folder).get(point.id) or Record("", status="failed")).status == "failed":
            add_record(folder, record)
        return record

    todo = [
        point
        for point in points
        if (point.id not in known or (arguments.retry_failed and known[point.id].status == "failed"))
        and done(point) is None
    ]
    jobs, by_name = _jobs(todo, folder, shared, arguments)
    say = _Progress(len(points), len(points) - len(todo), folder)
    say.begin(todo)
    code = 0
    for ending in run_jobs(
        jobs,
        _slots(arguments),
        retries=arguments.retries,
        begun=lambda job: say.begun(by_name.get(job.name), job),
        is_done=lambda job: _is_done(job, by_name, done),
    ):
        point = by_name.get(ending.job.name)
        record = done(point) if point is not None and ending.code == 0 else None
        if point is not None and ending.code in (1, 2):
            record = Record(point.id, dict(point.labels), point.recipe.seed, "failed", ending.reason, ending.seconds)
            add_record(folder, record)
        say.ended(point, ending, record)
        code = max(code, 1 if ending.code in (1, 2) else ending.code)
        if ending.code == 2 and not _got_anywhere(ending.job):
            say.mistake(ending)
            code = 2
            break
    return _finish(folder, code)


def _finish(folder: Path, code: int) -> int:
    """Write the report of what there is."""
    from sslkit.studies.study import read_study
    from sslkit.text import safe_text

    study = read_study(folder)
    if study.records:
        from sslkit.studies.study_report import write_study_report

        written = write_study_report(study)
        sys.stdout.write(safe_text(f"{len(study.records)} of {len(study.points)} runs: {written[0]}\n"))
    return code


def _known(folder: Path) -> dict[str, Record]:
    from sslkit.studies.study import read_records

    return read_records(folder)


def _shared(sweep: Sweep) -> set[str]:
    """Return the pretrainings that several points have in common: those are done once, for all."""
    all_of_them = [point.pretraining for point in sweep.points if point.pretraining]
    return {name for name in all_of_them if all_of_them.count(name) > 1}


def _run_folder(folder: Path, point: Point) -> Path:
    from sslkit.studies.study import point_name

    return folder / "runs" / point_name(point)


def _pretrained(folder: Path, point: Point, shared: set[str]) -> Path | None:
    return folder / "pretrained" / point.pretraining if point.pretraining in shared else None


def _jobs(
    points: Sequence[Point], folder: Path, shared: set[str], arguments: argparse.Namespace
) -> tuple[list[Job], dict[str, Point]]:
    """Return the runs of points, each after the pretraining that it shares with others, if it does."""
    from sslkit.launch.sweep import Job
    from sslkit.studies.study import point_name, point_recipe, write_once

    flags = _flags(arguments)
    jobs: dict[str, Job] = {}
    by_name: dict[str, Point] = {}
    for point in points:
        name, recipe, needs = point_name(point), point_recipe(folder, point), ""
        words: tuple[str, ...] = ("run", str(recipe))
        pretrained = _pretrained(folder, point, shared)
        if pretrained is not None:
            needs = f"pretraining.{point.pretraining}"
            alone = folder / "points" / f"{needs}.toml"
            write_once(alone, {key: value for key, value in point.tree.items() if key not in ("evaluate", "export")})
            output = folder / "logs" / f"{needs}.txt"
            words = ("run", str(alone), "--into", str(pretrained), *flags)
            if needs not in jobs and not _has_finished(pretrained):
                jobs[needs] = Job(needs, words, pretrained, output)
            needs = needs if needs in jobs else ""
            words = ("evaluate", str(pretrained), str(recipe))
        run = _run_folder(folder, point)
        words = (*words, "--into", str(run), *flags)
        jobs[name] = Job(name, words, run, folder / "logs" / f"{name}.txt", needs)
        by_name[name] = point
    return list(jobs.values()), by_name


def _flags(arguments: argparse.Namespace) -> list[str]:
    """Return the flags of `sslkit run` that say where and how."""
    given = [(name, getattr(arguments, name)) for name in _WHERE_AND_HOW]
    words = [word for name, value in given if value is not None for word in (f"--{name.replace('_', '-')}", str(value))]
    return [*words, *(f"--{name.replace('_', '-')}" for name in _SWITCHES if getattr(arguments, name))]


def _is_done(job: Job, by_name: dict[str, Point], done: Callable[[Point], Record | None]) -> bool:
    point = by_name.get(job.name)
    return _has_finished(job.folder) if point is None else done(point) is not None


def _has_finished(run: Path) -> bool:
    from sslkit.run_folder import read_json

    return (read_json(run / "summary.json") or {}).get("status") == "finished"


def _got_anywhere(job: Job) -> bool:
    """Tell whether a run failed on its own account, not by a mistake that all runs will share."""
    return (job.folder / "metrics.jsonl").exists() or any(job.folder.glob("evaluate/*"))


def _slots(arguments: argparse.Namespace) -> list[Slot]:
    """Return a place for each run that there may be at a time, each with its own devices, or its share of the cores."""
    from sslkit.engine.environment import cuda_devices
    from sslkit.errors import RunError
    from sslkit.launch.ranks import cores
    from sslkit.launch.sweep import Slot

    nproc, devices = arguments.nproc, 0
    if arguments.device == "auto" or arguments.device == "cuda":
        devices = cuda_devices()
    elif arguments.device.startswith("cuda:") and arguments.jobs not in (None, 1):
        raise RunError(
            f"--device {arguments.device}: several runs at a time take devices of their own; say --device cuda"
        )
    if devices and nproc > devices:
        raise RunError(f"--nproc {nproc}: there are {devices} CUDA devices; say so many, or --device cpu")
    at_a_time = arguments.jobs or max(1, devices // nproc)
    if not devices:
        threads = {} if at_a_time * nproc == 1 else {"OMP_NUM_THREADS": str(max(1, cores() // (at_a_time * nproc)))}
        return [Slot(nproc, {**threads, **_own("OMP_NUM_THREADS")}) for _ in range(at_a_time)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(devices)]
    groups = [names[first : first + nproc] for first in range(0, devices - nproc + 1, nproc)]
    return [Slot(nproc, {"CUDA_VISIBLE_DEVICES": ",".join(groups[k % len(groups)])}) for k in range(at_a_time)]


def _own(variable: str) -> dict[str, str]:
    return {variable: os.environ[variable]} if variable in os.environ else {}


def _commit() -> str:
    """Return the commit of the checkout that sslkit is installed from; empty if it is from none."""
    import sslkit

    root = Path(sslkit.__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _submit(sweep: Sweep, folder: Path, arguments: argparse.Namespace) -> int:
    from sslkit.launch.slurm import submit
    from sslkit.text import safe_text

    told = submit(
        arguments.words,
        name=sweep.name,
        into=folder,
        runs=arguments.runs,
        jobs=arguments.parts,
        options=arguments.slurm,
    )
    sys.stdout.write(safe_text(told))
    return 0


class _Progress:
    """Says what goes on, a line for each run that ends."""

    def __init__(self, planned: int, done: int, folder: Path) -> None:
        self._planned = planned
        self._done = done
        self._folder = folder
        self._began = time.monotonic()
        self._finished = 0

    def begin(self, todo: Sequence[Point]) -> None:
        self._say(f"{self._folder}: {self._planned} runs, {self._done} of them done")

    def begun(self, point: Point | None, job: Job) -> None:
        if sys.stdout.isatty():
            self._say(f"  begins: {job.name if point is None else point.title}")

    def ended(self, point: Point | None, ending: Ending, record: Record | None) -> None:
        from sslkit.text import duration

        if ending.code == 0 and point is None:
            return
        if ending.code == 0:
            self._done += 1
            self._finished += 1
        title = ending.job.name if point is None else point.title
        left = ""
        if self._finished:
            pace = (time.monotonic() - self._began) / self._finished
            left = f"  {duration(pace * (self._planned - self._done))} left"
        what = _score(record) if record is not None and ending.code == 0 else _how(ending)
        self._say(f"[{self._done}/{self._planned}] {title}: {what}  ({duration(ending.seconds)}){left}")

    def mistake(self, ending: Ending) -> None:
        self._say(
            f"nothing came of it, so no other run is begun: see {ending.job.output}; then run the same command again"
        )

    def _say(self, text: str) -> None:
        from sslkit.text import safe_text

        sys.stdout.write(safe_text(text) + "\n")
        sys.stdout.flush()


def _score(record: Record) -> str:
    from sslkit.studies.wording import measured, shown_value

    row = record.results[0] if record.results else None
    if row is None:
        return "done"
    return (
        f"{row['metric']} {shown_value(row['metric'], row['value'], None)} {measured(row['features'], row['weights'])}"
    )


def _how(ending: Ending) -> str:
    if ending.code == 75:
        return "stopped"
    return f"failed: {ending.reason} (all of it: {ending.job.output})"


def part(text: str) -> tuple[int, int]:
    """Read I/N from the command line."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(
            f"{text!r} should be two whole numbers such as 3/20, the first from 1 to the second"
        )
    return int(match[1]), int(match[2])
