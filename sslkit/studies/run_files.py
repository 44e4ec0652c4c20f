"""A run's folder as its page reads it: everything that is there, and notes on what cannot be read.

Enters: the folder of a run that is finished, stopped, failed or still going. Leaves: a `RunFiles`. Called by the
report's pages. A file that is missing or broken takes its part of the page with it, and nothing else.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import RunError
from sslkit.run_folder import read_json
from sslkit.studies.collect import Run, Score
from sslkit.studies.curves import Curve, read_curves
from sslkit.text import one_line

_MOST_ROWS: Final = 10_000  # bad images and warnings that are read
_LETTERS: Final = 60  # of a class's name
_Value = TypeVar("_Value")


@dataclass
class RunFiles:
    """What a run's folder holds beside its recipe and scores.

    Attributes:
        run: The recipe, the status and the scores.
        summary: `summary.json`.
        backbone: `backbone.json`.
        environment: `environment.json`.
        recipe_text: `resolved.toml`, or `recipe.toml` where there is none.
        curves: Columns of `metrics.jsonl`.
        views: Uint8 [rows, 1 + V, C, S, S], an image and its views; None if there are none.
        sample: Arrays of `features_sample.npz`.
        bad_images: Rows of `bad_images.jsonl`.
        warnings: Warnings and errors of `log.txt`, each once.
        notes: What could not be read, and why.
    """

    run: Run
    summary: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    recipe_text: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    views: NDArray[np.uint8] | None = None
    sample: dict[str, NDArray[Any]] = field(default_factory=dict)
    bad_images: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, run: Run) -> RunFiles:
        """Read what a page shows.

        Args:
            run: As `read_runs` found it.
        """
        files = cls(run)
        if run.status == "broken":
            files._note(run.reason)
        files.summary = files._read("summary.json", _table, {})
        files.backbone = files._read("backbone.json", _table, {})
        files.environment = files._read("environment.json", _table, {})
        files.recipe_text = files._read("resolved.toml", _text, "") or files._read("recipe.toml", _text, "")
        files.warnings = files._read("log.txt", _warnings, [])
        files.bad_images = files._read("bad_images.jsonl", _json_lines, [])
        files.sample = files._read("evaluate/features_sample.npz", _arrays, {})
        files.views = files._read("views.npz", _views, None)
        nothing: tuple[dict[str, Curve], int] = ({}, 0)
        files.curves, num_broken = files._read("metrics.jsonl", read_curves, nothing)
        if num_broken:
            files._note(f"metrics.jsonl: lines without a record of a step, left out: {num_broken:,}")
        return files

    def predictions(self, score: Score | None) -> dict[str, NDArray[Any]]:
        """Return the stored predictions of a score; empty if there are none that can be read."""
        try:
            return {} if score is None else score.predictions()
        except RunError as error:
            self._note(str(error))
            return {}

    def class_names(self, score: Score) -> Callable[[int], str]:
        """Return what tells the name of a class of a score's data: its own, or `class 3`."""
        if score.file is None:
            return namer(None)
        nothing: dict[str, Any] = {}
        metrics = self._read(f"evaluate/{score.file.parent.name}/metrics.json", _table, nothing)
        return namer(metrics.get("class_names"))

    def _read(self, name: str, read: Callable[[Path], _Value], absent: _Value) -> _Value:
        path = self.run.folder / name
        try:
            return read(path) if path.exists() else absent
        except Exception as error:  # numpy, zipfile and zlib each raise their own
            self._note(str(error) if isinstance(error, RunError) else f"{path}: cannot be read: {one_line(error, 120)}")
            return absent

    def _note(self, text: str) -> None:
        text = text.replace(f"{self.run.folder}/", "")
        if text not in self.notes:
            self.notes.append(text)


def namer(names: Any) -> Callable[[int], str]:
    """Return what tells the name of a class: the one in a list of names, or `class 3`."""
    known = [one_line(name, _LETTERS) for name in names] if isinstance(names, list | np.ndarray) else []
    return lambda number: known[number] if 0 <= number < len(known) else f"class {number}"


def table_of(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a table within a table; empty if there is none."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _table(path: Path) -> dict[str, Any]:
    return read_json(path) or {}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _json_lines(path: Path) -> list[dict[str, Any]]:
    lines = _text(path).split("\n")[:_MOST_ROWS]
    return [row for row in map(json.loads, filter(str.strip, lines)) if isinstance(row, dict)]


def _warnings(path: Path) -> list[str]:
    found = re.findall(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) (.*)$", _text(path), flags=re.MULTILINE)
    return list(dict.fromkeys(found))[:_MOST_ROWS]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise RunError(f"{path}: cannot be read: is no file of arrays")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _views(path: Path) -> NDArray[np.uint8]:
    for array in _arrays(path).values():
        if array.ndim == 5 and array.dtype == np.uint8 and array.size and array.shape[2] in (1, 3):
            return array
    raise RunError(f"{path}: holds no uint8 images [rows, 1 + views, C, S, S]")
