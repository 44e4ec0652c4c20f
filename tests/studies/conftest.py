"""Studies in memory: axes, a function that says what each run measured, charts, references."""

import itertools

import pytest

from sslkit.studies.records import Record
from sslkit.studies.study import Axis, Study


def _number(label):
    try:
        return float(label)
    except ValueError:
        return None


@pytest.fixture
def result():
    """Return a function that makes a row of results."""

    def make(value, **changes):
        return {
            "evaluation": "builtin.linear", "data": "builtin.shapes", "split": "test", "features": "h",
            "weights": "pretrained", "metric": "top1", "value": value, "interval": [value - 0.1, value + 0.1], "n": 100,
            "seed": 0, "index": 0, "metrics": {},
        } | changes  # fmt: skip

    return make


@pytest.fixture
def make_study(tmp_path, result):
    """Return a function that makes a study.

    Axes are names with their labels. `found(labels, seed)` says what a run has found: a number, rows, rows and metrics
    of the pretraining, the reason of a failure, or None if it has not run.
    """

    def make(axes, found, *charts, references=None, seeds=(0,), **changes):
        axes = tuple(
            Axis(name, f"pretrain.{name}", tuple(labels), tuple(map(_number, labels))) for name, labels in axes.items()
        )
        points, records = [], []
        combinations = changes.pop("combinations", None) or list(itertools.product(*(axis.labels for axis in axes)))
        for seed, chosen in itertools.product(seeds, combinations):
            labels = dict(zip((axis.name for axis in axes), chosen, strict=True))
            points.append({"id": f"id{len(points)}", "labels": labels, "seed": seed})
            outcome = found(labels, seed)
            if outcome is None:
                continue
            record = {
                "id": points[-1]["id"],
                "labels": labels,
                "seed": seed,
                "seconds": 30.0,
                "finished": "2026-11-26T06:00:00+00:00",
            }
            if isinstance(outcome, str):
                records.append(Record(**record, status="failed", reason=outcome))
                continue
            rows, pretraining = outcome if isinstance(outcome, tuple) else (outcome, {})
            rows = rows if isinstance(rows, list) else [result(rows)]
            records.append(
                Record(**record, results=tuple(rows), pretraining=pretraining, environment={"torch": "2.11.0"})
            )
        return Study(
            folder=tmp_path, name=changes.get("name", "toy"), description=changes.get("description", ""), seeds=seeds,
            axes=axes, charts=charts, references=references or {}, points=tuple(points), records=tuple(records),
        )  # fmt: skip

    return make
