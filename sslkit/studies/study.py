"""A study's folder: what it consists of and what its runs have found, in two files that outlive the runs.

`study.json` says what was planned; `results.jsonl` gets a line for every run that has ended, whoever ran it. Together
they are all that a report needs and all that a sweep needs to go on. Enters: a `Sweep`, run folders. Leaves: a `Study`.
Called by `sslkit sweep` and `sslkit report`.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w

from sslkit.errors import RunError
from sslkit.recipe.sweep import Point, Sweep
from sslkit.run_folder import read_json, write_json, write_text
from sslkit.text import one_line

_PLAN: Final = "study.json"
_RESULTS: Final = "results.jsonl"
_FORMAT: Final = 1
_NO_METRIC: Final = ("step", "epoch", "learning_rate", "data_wait")
_KEPT: Final = ("sslkit", "torch", "device", "device_name", "cpu", "threads", "processes", "plugins", "commit")


@dataclass(frozen=True)
class Record:
    """What came of one run.

    Attributes:
        id: Of the point: see `sslkit.recipe.sweep.Point`.
        labels: Axis to label.
        seed: Of the run.
        status: "finished" or "failed".
        reason: Of a failure.
        seconds: That it took, pretraining that it shares with others left out.
        finished: When, ISO 8601.
        results: Rows as in `summary.json`.
        pretraining: `parameters` of the backbone, and metrics of the pretraining, each the mean over the measured steps
            in the last tenth of it.
        skipped: Evaluations that were left out because their data was not there.
        environment: What it ran with and on.
        shared: Of a pretraining that it shares with others: its `id`, and the `seconds` that it took.
    """

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    status: str = "finished"
    reason: str = ""
    seconds: float | None = None
    finished: str = ""
    results: tuple[Mapping[str, Any], ...] = ()
    pretraining: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the run has ended without results."""
        return self.status == "failed"


@dataclass(frozen=True)
class Axis:
    """An axis of a study: see `sslkit.recipe.sweep.Axis`."""

    name: str
    key: str
    labels: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Study:
    """A study as its folder tells it.

    Attributes:
        folder: Where it lies.
        name: Of the recipe.
        description: Of the recipe.
        seeds: Of every point.
        axes: What varies, but for the seed.
        charts: What the report draws.
        references: Numbers to see charts beside.
        points: All planned runs: id, labels, seed.
        records: Of the runs that have ended and are part of the plan; the last one of each.
    """

    folder: Path
    name: str
    description: str
    seeds: tuple[int, ...]
    axes: tuple[Axis, ...]
    charts: tuple[Mapping[str, Any], ...]
    references: Mapping[str, Any]
    points: tuple[Mapping[str, Any], ...]
    records: tuple[Record, ...]


def is_study(folder: Path) -> bool:
    """Tell whether a folder is a study's."""
    return (folder / _PLAN).is_file()


def read_study(folder: Path) -> Study:
    """Return what a folder says of its study.

    Raises:
        RunError: There is none, or it cannot be read.
    """
    plan = read_json(folder / _PLAN)
    if plan is None:
        raise RunError(f"{folder}: holds no study; name the folder that `sslkit sweep` has written")
    try:
        if plan["schema"] != _FORMAT:
            raise RunError(f"{folder / _PLAN}: is of format {plan['schema']}, this version reads {_FORMAT}")
        points = tuple(dict(point) for point in plan["points"])
        ids = {point["id"] for point in points}
        return Study(
            folder=folder,
            name=str(plan["name"]),
            description=str(plan["description"]),
            seeds=tuple(map(int, plan["seeds"])),
            axes=tuple(
                Axis(axis["name"], axis["key"], tuple(axis["labels"]), tuple(axis["values"])) for axis in plan["axes"]
            ),
            charts=tuple(plan["charts"]),
            references=plan["references"],
            points=points,
            records=tuple(record for id, record in read_records(folder).items() if id in ids),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / _PLAN}: holds no study ({type(error).__name__}: {one_line(error)}); run the sweep again"
        ) from None


def write_plan(folder: Path, sweep: Sweep) -> None:
    """Write what a study consists of, and the recipe of each run.

    Args:
        folder: Of the study.
        sweep: As it was read.

    Raises:
        RunError: The folder holds other files, or another study.
    """
    _require_free(folder, sweep.name)
    folder.mkdir(parents=True, exist_ok=True)
    axes = [{key: value for key, value in asdict(axis).items() if key in _AXIS} for axis in sweep.axes]
    plan = {
        "schema": _FORMAT,
        "name": sweep.name,
        "description": sweep.description,
        "seeds": sweep.seeds,
        "axes": axes,
        "charts": sweep.charts,
        "references": sweep.references,
        "points": [{"id": point.id, "labels": point.labels, "seed": point.recipe.seed} for point in sweep.points],
    }
    write_json(folder / _PLAN, plan)  # first: from here on the folder is this study's, whenever it is killed
    (folder / "points").mkdir(exist_ok=True)
    for point in sweep.points:
        write_once(point_recipe(folder, point), point.tree | _kept_plugins(folder, point))


_AXIS: Final = ("name", "key", "labels", "values")


def _require_free(folder: Path, name: str) -> None:
    plan = read_json(folder / _PLAN)
    if plan is not None and plan.get("name") != name:
        raise RunError(
            f"{folder}: holds the study {one_line(plan.get('name'))}, not {name}; name another folder with --into"
        )
    found = folder.iterdir() if plan is None and folder.is_dir() else ()
    if any(path.name != _RESULTS and not path.name.startswith(".") for path in found):
        raise RunError(f"{folder}: holds other files and no study; name a new or empty folder with --into")


def _kept_plugins(folder: Path, point: Point) -> dict[str, list[str]]:
    """Keep a copy of the files that a recipe lists as plugins, so that all runs of a point's id have the same ones."""
    kept = []
    for plugin in point.recipe.plugins:
        content = plugin.read_bytes()
        copy = folder / "plugins" / hashlib.sha256(content).hexdigest()[:10] / plugin.name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_text(copy, content.decode())
        kept.append(str(copy.resolve()))
    return {"plugins": kept} if kept else {}


def read_point(folder: Path, point: Point) -> dict[str, Any]:
    """Return the recipe of a run, as the study keeps it."""
    return tomllib.loads(point_recipe(folder, point).read_text(encoding="utf-8"))


def write_once(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a recipe, if there is not the very same already: another sweep may be reading it."""
    text = tomli_w.dumps(tree)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def point_recipe(folder: Path, point: Point) -> Path:
    """Return where the recipe of a run is."""
    return folder / "points" / f"{point_name(point)}.toml"


def point_name(point: Point) -> str:
    """Return what the files of a run are called: its labels, as far as file names allow, and its id."""
    words = "-".join([*point.labels.values(), f"seed{point.recipe.seed}"])
    safe = "".join(
        character if character.isascii() and (character.isalnum() or character in "._-") else "_" for character in words
    )
    return f"{safe[:80].strip('.-_') or 'run'}.{point.id}"


def read_records(folder: Path) -> dict[str, Record]:
    """Return what is known of the runs in a study's folder, by id; the last line of each counts.

    Lines that cannot be read are left out: one that a kill has cut, or of a later version.
    """
    path = folder / _RESULTS
    records: dict[str, Record] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
            known = {name: value for name, value in values.items() if name in Record.__dataclass_fields__}
            record = Record(
                **known
                | {"results": tuple(dict(row) for row in values.get("results", ()))}
                | {"skipped": tuple(values.get("skipped", ()))}
            )
        except (AttributeError, TypeError, ValueError):
            continue
        records.pop(record.id, None)
        records[record.id] = record
    return records


def add_record(folder: Path, record: Record) -> None:
    """Add what came of a run: one line, written at once, so that several sweeps may add at the same time."""
    line = json.dumps(asdict(record), ensure_ascii=False, default=str) + "\n"
    handle = os.open(folder / _RESULTS, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        is_cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"  # by a kill, while it was written
        os.write(handle, (("\n" if is_cut else "") + line).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def record_of(point: Point, run: Path, pretrained: Path | None) -> Record | None:
    """Return what came of a run that has finished; None if it has not.

    Args:
        point: Of the study.
        run: Its folder.
        pretrained: Folder of the pretraining that it shares, if it does.

    Raises:
        RunError: A file of it cannot be read.
    """
    summary = read_json(run / "summary.json")
    if summary is None or summary.get("status") != "finished":
        return None
    environment = read_json(run / "environment.json") or {}
    trained = pretrained or run
    training = read_json(trained / "summary.json") or {}
    parameters = training.get("parameters")
    return Record(
        id=point.id,
        labels=dict(point.labels),
        seed=point.recipe.seed,
        seconds=summary.get("seconds"),
        finished=str(summary.get("finished", "")),
        results=tuple(_with_metrics(run, summary.get("results", ()))),
        pretraining=({} if parameters is None else {"parameters": parameters}) | _at_the_end(trained / "metrics.jsonl"),
        skipped=tuple(summary.get("skipped") or ()),
        environment={key: environment[key] for key in _KEPT if environment.get(key)},
        shared={} if pretrained is None else {"id": pretrained.name, "seconds": training.get("seconds")},
    )


def _with_metrics(run: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Add to the rows of a summary all metrics of their evaluations, of which each names one."""
    found: dict[tuple[Any, ...], Any] = {}
    for path in run.glob("evaluate/*/metrics.json"):
        for result in (read_json(path) or {}).get("results", ()):
            found[_what(result)] = result.get("metrics")
    for row in rows:
        yield dict(row) | {"metrics": found.get(_what(row)) or {}}


def _what(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in ("index", "features", "weights", "seed"))


def _at_the_end(path: Path) -> dict[str, float]:
    """Return the mean of every metric over the measured steps in the last tenth of a pretraining."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    lines = [line for line in lines if line.get("step", 0) > 0.9 * lines[-1].get("step", 0)]
    names = dict.fromkeys(name for line in lines for name in line if name not in _NO_METRIC)
    return {name: mean for name in names if (mean := _mean(line.get(name) for line in lines)) is not None}


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return statistics.fmean(numbers) if numbers else None
