"""What came of the runs of a study: `results.jsonl`, a line for every run that has ended, whoever ran it.

Enters: run folders. Leaves: `Record`s, added to that file and read back. Called by `study`, `sslkit sweep` and reports.
"""

from __future__ import annotations

import json
import os
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sslkit.recipe.sweep import Point
from sslkit.run_folder import read_json

RESULTS: Final = "results.jsonl"
"""Their file in a study's folder."""

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
        pretraining: `parameters` of the backbone, `images` that there are, and metrics of the pretraining, each the
            mean over the measured steps in the last tenth of it.
        skipped: Evaluations that were left out because their data was not there.
        environment: What it ran with and on.
        shared: Of a pretraining that it shares with others: its `id`, and the `seconds` that it took.
        beside: Seconds that its process took beside those: to start, to write its page; None if that is not known.
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
    beside: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the run has ended without results."""
        return self.status == "failed"


def read_records(folder: Path) -> dict[str, Record]:
    """Return what is known of the runs in a study's folder, by id; the last line of each counts.

    Lines that cannot be read are left out: one that a kill has cut, or of a later version.
    """
    path = folder / RESULTS
    records: dict[str, Record] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else ():
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
    handle = os.open(folder / RESULTS, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
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
    sizes = {"parameters": training.get("parameters"), "images": _num_images(trained / "resolved.toml")}
    return Record(
        id=point.id,
        labels=dict(point.labels),
        seed=point.recipe.seed,
        seconds=summary.get("seconds"),
        finished=str(summary.get("finished", "")),
        results=tuple(_with_metrics(run, summary.get("results", ()))),
        pretraining={key: size for key, size in sizes.items() if size is not None}
        | _at_the_end(trained / "metrics.jsonl"),
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


def _num_images(path: Path) -> int | None:
    recipe = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    amount: int | None = recipe.get("derived", {}).get("num_images")
    return amount


def _at_the_end(path: Path) -> dict[str, float]:
    """Return the mean of every metric over the measured steps in the last tenth of a pretraining."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.split("\n") if line]
    lines = [line for line in lines if line.get("step", 0) > 0.9 * lines[-1].get("step", 0)]
    names = dict.fromkeys(name for line in lines for name in line if name not in _NO_METRIC)
    return {name: mean for name in names if (mean := _mean(line.get(name) for line in lines)) is not None}


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return statistics.fmean(numbers) if numbers else None
