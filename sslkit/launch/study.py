"""From a study to the jobs that are left of it, and from a job that has ended to what is known of its run.

Enters: a `Sweep`, the study's folder, flags. Leaves: jobs for `sweep`, records in the folder. Called by `sslkit sweep`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sslkit.errors import RunError
from sslkit.launch.ranks import cores
from sslkit.launch.sweep import Ending, Job, Slot
from sslkit.recipe.sweep import Point, Sweep
from sslkit.run_folder import read_json
from sslkit.studies.records import Record, add_record, read_records, record_of
from sslkit.studies.study import point_name, point_recipe, read_point, write_once, write_plan


class Runs:
    """The runs of a study in its folder.

    Args:
        sweep: What it consists of.
        folder: Of the study.
        flags: Of `sslkit run`, for every run.
        may_lack_data: A run is finished even if evaluations were skipped because their data was not there.
    """

    def __init__(self, sweep: Sweep, folder: Path, flags: Sequence[str], *, may_lack_data: bool = False) -> None:
        self._sweep = sweep
        self._folder = folder
        self._flags = tuple(flags)
        self._may_lack_data = may_lack_data
        self._tried_again: set[str] = set()
        self._shared = shared_pretrainings(sweep)
        self._points: dict[str, Point] = {}  # by the names of their jobs

    def left(self, points: Iterable[Point], *, retry_failed: bool) -> list[Point]:
        """Return the points whose runs are still to be done; notes those that have finished without a record."""
        known = read_records(self._folder)
        if retry_failed:
            self._tried_again = {id for id, record in known.items() if record.failed}
        wanted = [point for point in points if not self._is_known(known.get(point.id))]
        return [point for point in wanted if self._note_finished(point) is None]

    def failed(self, points: Iterable[Point]) -> int:
        """Return how many points have failed."""
        known = read_records(self._folder)
        return sum(point.id in known and known[point.id].failed for point in points)

    def _is_known(self, record: Record | None) -> bool:
        """Tell whether a record says that nothing is left to be done."""
        if record is None or (record.failed and record.id in self._tried_again):
            return False
        return self._may_lack_data or not record.skipped

    def jobs(self, points: Iterable[Point]) -> list[Job]:
        """Write what the study consists of, and return the jobs of points, each after the pretraining that it shares.

        Raises:
            RunError: The folder holds other files, or another study.
        """
        write_plan(self._folder, self._sweep)
        jobs: dict[str, Job] = {}
        for point in points:
            name, recipe = point_name(point), point_recipe(self._folder, point)
            self._points[name] = point
            needs, words = "", ["run", str(recipe)]
            pretrained = self._pretrained(point)
            if pretrained is not None and not (self._folder / "runs" / name / "checkpoints").exists():
                words = ["evaluate", str(pretrained), str(recipe)]
                if not _has_finished(pretrained):
                    needs = f"pretraining.{point.pretraining}"
                    jobs.setdefault(needs, self._pretraining(needs, point, pretrained))
            jobs[name] = self._job(name, words, self._folder / "runs" / name, needs)
        return list(jobs.values())

    def point(self, job: Job) -> Point | None:
        """Return the point of a job; None for a pretraining that several points share."""
        return self._points.get(job.name)

    def is_done(self, job: Job) -> bool:
        """Tell whether somebody else has done a job."""
        point = self.point(job)
        if point is None:
            return _has_finished(job.folder)
        return self._is_known(read_records(self._folder).get(point.id)) or self._note_finished(point) is not None

    def note(self, ending: Ending) -> Record | None:
        """Note what came of a job; nothing for a pretraining that several share, or a run that was stopped."""
        point = self.point(ending.job)
        if point is None or ending.code not in (0, 1, 2):
            return None
        if ending.code == 0:
            return self._note_finished(point, ending.seconds)
        labels, seed = dict(point.labels), point.recipe.seed
        record = Record(point.id, labels, seed, "failed", ending.reason, round(ending.seconds, 1))
        add_record(self._folder, record)
        return record

    def _note_finished(self, point: Point, whole: float = 0.0) -> Record | None:
        """Note a run that has finished, and what it took beside itself if `whole` seconds are known to be all of it."""
        run = self._folder / "runs" / point_name(point)
        record = record_of(point, run, None if (run / "checkpoints").exists() else self._pretrained(point))
        if record is None or not self._is_known(record):
            return None
        if record.seconds is not None and whole > record.seconds:
            record = replace(record, beside=round(whole - record.seconds, 1))
        known = read_records(self._folder).get(point.id)
        if known is None or known.failed or known.skipped != record.skipped:
            add_record(self._folder, record)
        return record

    def _pretrained(self, point: Point) -> Path | None:
        return self._folder / "pretrained" / point.pretraining if point.pretraining in self._shared else None

    def _pretraining(self, name: str, point: Point, folder: Path) -> Job:
        recipe = self._folder / "points" / f"{name}.toml"
        tree = read_point(self._folder, point)
        write_once(recipe, {key: value for key, value in tree.items() if key != "evaluate"})
        return self._job(name, ["run", str(recipe)], folder)

    def _job(self, name: str, words: Sequence[str], folder: Path, needs: str = "") -> Job:
        output = self._folder / "logs" / f"{name}.txt"
        return Job(name, (*words, "--into", str(folder), *self._flags), folder, output, needs)


def shared_pretrainings(sweep: Sweep) -> set[str]:
    """Return the pretrainings that several points have in common: those are done once, for all."""
    every = [point.pretraining for point in sweep.points if point.pretraining]
    return {name for name in every if every.count(name) > 1}


def usual_seconds_beside(records: Iterable[Record]) -> float | None:
    """Return what runs have usually taken beside what they report: to start, to write their pages; None if unknown."""
    known = [record.beside for record in records if record.beside is not None]
    return statistics.median(known) if known else None


def slots(device: str, devices: int, *, nproc: int = 1, jobs: int | None = None) -> list[Slot]:
    """Return a place for each run that there may be at a time, with devices of its own or its share of the cores.

    Args:
        device: As `--device` says.
        devices: How many CUDA devices there are.
        nproc: Processes of a run.
        jobs: Runs at a time; None is as many as the devices allow, or one.

    Raises:
        RunError: There are too few devices.
    """
    if device.startswith("cuda:") and (jobs or 1) > 1:
        raise RunError(f"--device {device}: several runs at a time take devices of their own; say --device cuda")
    devices = devices if device in ("auto", "cuda") else 0
    if devices and nproc > devices:
        raise RunError(f"--nproc {nproc}: there are {devices} CUDA devices; say so many, or --device cpu")
    at_a_time = jobs or max(1, devices // nproc)
    if not devices:
        shared = at_a_time * nproc > 1 and "OMP_NUM_THREADS" not in os.environ
        threads = {"OMP_NUM_THREADS": str(max(1, cores() // (at_a_time * nproc)))} if shared else {}
        return [Slot(nproc, threads)] * at_a_time
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(devices)]
    groups = [",".join(names[first : first + nproc]) for first in range(0, devices - nproc + 1, nproc)]
    return [Slot(nproc, {"CUDA_VISIBLE_DEVICES": groups[number % len(groups)]}) for number in range(at_a_time)]


def got_anywhere(job: Job) -> bool:
    """Tell whether a run failed on its own account, and not by a mistake that all others will share."""
    return (job.folder / "metrics.jsonl").exists() or any(job.folder.glob("evaluate/*"))


def _has_finished(run: Path) -> bool:
    return (read_json(run / "summary.json") or {}).get("status") == "finished"
