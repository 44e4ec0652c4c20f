"""The numbers of every step, from `metrics.jsonl` to as many points as a chart can show.

Enters: a file that may still grow, hold nulls or end in half a line. Leaves: one curve per column; thinned curves keep
the least and the largest value of what they leave out. Called by the report's pages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ABSENT: Final = object()
_LARGEST: Final = 1e300
_CHUNK: Final = 4096  # lines parsed at once, as one JSON array: three times as fast as one by one


@dataclass(frozen=True)
class Curve:
    """A column over the steps: one point per value, or per bin of neighbouring ones.

    Attributes:
        steps: Float [n].
        values: Float [n]; of a bin, the mean of its finite values. Not a number where there is none.
        low: Float [n], the least value; `values` itself where nothing was thinned.
        high: Float [n], the largest value.
        missing: Bool [n]: a value, or one of the bin, was not finite.
    """

    steps: Floats
    values: Floats
    low: Floats
    high: Floats
    missing: NDArray[np.bool_]

    @classmethod
    def of(cls, steps: Floats, values: Floats) -> Curve:
        """Return a curve with a point for every value; what is too large for a chart counts as not finite."""
        finite = np.where(np.abs(values) < _LARGEST, values, np.nan)
        return cls(steps, finite, finite, finite, np.isnan(finite))

    def thinned(self, bins: int) -> Curve:
        """Return a curve of at most `bins` points: means, with what they leave out as `low` and `high`.

        Args:
            bins: Of neighbouring points, as equal in number as they can be.
        """
        count = len(self.steps)
        if count <= bins:
            return self
        starts = np.arange(bins) * count // bins
        finite = ~np.isnan(self.values)
        num_finite = np.add.reduceat(finite.astype(np.int64), starts)
        share = np.where(finite, self.values, 0.0) / np.repeat(np.maximum(num_finite, 1), np.diff([*starts, count]))
        empty = num_finite == 0
        return Curve(
            steps=np.add.reduceat(self.steps, starts) / np.diff([*starts, count]),
            values=np.where(empty, np.nan, np.add.reduceat(share, starts)),
            low=np.fmin.reduceat(self.low, starts),
            high=np.fmax.reduceat(self.high, starts),
            missing=np.logical_or.reduceat(self.missing, starts),
        )


def read_curves(path: Path) -> tuple[dict[str, Curve], int]:
    """Return every numeric column of a `metrics.jsonl` by its name, in the order of appearance, over `step`.

    A null is a value that was not finite; a column that a line lacks was not measured in that step.

    Args:
        path: The file; without it there are no curves.

    Returns:
        The curves, and the number of lines that are no records with a step.

    Raises:
        OSError: The file cannot be read.
    """
    parts: dict[str, list[tuple[Floats, Floats]]] = {}
    num_broken = 0
    for records in _chunks(path):
        good = [record for record in records if isinstance(record, dict) and _is_step(record.get("step"))]
        num_broken += len(records) - len(good)
        steps = np.array([record["step"] for record in good])
        for name in dict.fromkeys(key for record in good for key in record if key != "step"):
            values = [record.get(name, _ABSENT) for record in good]
            if any(kind is not float for kind in set(map(type, values))):
                there = [place for place, value in enumerate(values) if value is None or isinstance(value, float)]
                column = (steps[there], np.array([values[place] for place in there], dtype=np.float64))
            else:
                column = (steps, np.array(values))
            parts.setdefault(name, []).append(column)
    return {name: curve for name, column in parts.items() if len((curve := _joined(column)).steps)}, num_broken


def _chunks(path: Path) -> Iterator[list[Any]]:
    """Yield what the lines hold, many at a time, every number a float; None for a line that is not JSON."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        while lines := list(islice(file, _CHUNK)):
            lines = [line for line in lines if not line.isspace()]
            try:
                yield json.loads(f"[{','.join(lines)}]", parse_int=float)
            except (ValueError, RecursionError):
                yield [_record(line) for line in lines]


def _record(line: str) -> Any:
    try:
        return json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _is_step(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _joined(column: list[tuple[Floats, Floats]]) -> Curve:
    steps, values = (np.concatenate(part) for part in zip(*column, strict=True))
    order = np.argsort(steps, kind="stable")
    return Curve.of(steps[order], values[order])
