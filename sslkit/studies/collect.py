"""Run folders read back: what each run is, how it ended, and its scores.

Enters: folders, finished or not, whole or broken. Leaves: `Run`s, each with its `Score`s. Called by `sslkit report`,
`sslkit compare` and the pages of reports. Whatever a folder holds, it is a run with a status and no exception: one
broken run must not hide the others.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import RunError
from sslkit.run_folder import read_json
from sslkit.studies.settings import differing, in_words, options_of
from sslkit.studies.wording import measured
from sslkit.text import one_line

_MARKS: Final = ("resolved.toml", "recipe.toml", "summary.json", "status.json")  # a folder with one of them is a run


@dataclass(frozen=True)
class Score:
    """One result of one run.

    Attributes:
        evaluation: The component's name.
        data: The data component's name.
        features: "h", "z", a layer's name, or "pixels".
        weights: "pretrained", "random", or "none" for the pixels.
        metric: What `value` is.
        value: Accuracies and average precisions as fractions; None if it is no number.
        interval: Lowest and highest likely value, if there is one.
        n: Test images.
        seed: Of the evaluation.
        split: Of the data.
        index: Number of the recipe's `[[evaluate]]` table; -1 if unknown.
        options: Of that table and its data; empty if unknown.
        setting: Options in which this evaluation differs from others of the same name and data in its run.
        is_baseline: Not what the run is about, but something to see it against.
        fingerprint: Of the test data, "" if unknown.
        metrics: All metrics of the evaluation.
        file: Holds the predictions, if there are any.
        prefix: Of their names in the file.
    """

    evaluation: str
    data: str
    features: str
    weights: str
    metric: str
    value: float | None
    interval: tuple[float, float] | None = None
    n: int | None = None
    seed: int = 0
    split: str = "test"
    index: int = -1
    options: Mapping[str, Any] = field(default_factory=dict)
    setting: str = ""
    is_baseline: bool = False
    fingerprint: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    file: Path | None = None
    prefix: str = ""

    @property
    def measured(self) -> str:
        """What is measured, in a few words."""
        return measured(self.features, self.weights)

    @property
    def evaluated(self) -> str:
        """Evaluation and its setting."""
        return f"{self.evaluation} ({self.setting})" if self.setting else self.evaluation

    @property
    def title(self) -> str:
        """Evaluation, data and what is measured, on one line."""
        return f"{self.evaluated} on {self.data}, {self.measured}"

    @property
    def what(self) -> tuple[str, str, str, str, str, str, str]:
        """All that two scores must have in common to be of the same thing; seed and test images aside."""
        return self.evaluation, self.setting, self.data, self.split, self.features, self.weights, self.metric

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Return the stored predictions; empty if there are none.

        Raises:
            RunError: The file cannot be read.
        """
        if self.file is None or not self.file.exists():
            return {}
        try:
            with np.load(self.file, allow_pickle=False) as arrays:
                names = {name: name.removeprefix(self.prefix) for name in arrays if name.startswith(self.prefix)}
                return {short: arrays[name] for name, short in names.items() if "." not in short}
        except Exception as error:  # numpy, zipfile and zlib each raise their own
            raise RunError(f"{self.file}: cannot be read: {one_line(error)}; evaluate the run again") from None


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: Where it lies.
        name: The recipe's, or the folder's if that is unknown.
        status: "finished", "running", "stopped", "failed", "begun", or "broken" if a file cannot be read.
        reason: More about the status.
        seed: Of the run; None if unknown.
        seconds: That a finished run took.
        recipe: The resolved recipe; empty if it cannot be read.
        pretraining_data: Fingerprint of the images pretrained on, "" if unknown.
        scores: Of all its evaluations.
    """

    folder: Path
    name: str
    status: str
    reason: str = ""
    seed: int | None = None
    seconds: float | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    pretraining_data: str = ""
    scores: tuple[Score, ...] = ()


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Return the runs in folders: each a run's own, or one that holds runs, at most two folders deep.

    Args:
        paths: In the order in which the runs are to appear; a run that is in two of them appears once.

    Raises:
        RunError: A folder is missing, or there is no run in it.
    """
    folders = {folder.resolve(): folder for path in paths for folder in _find(path)}
    return _with_settings([_read_run(folder) for folder in folders.values()])


def _find(path: Path) -> list[Path]:
    if not path.is_dir():
        raise RunError(f"{path}: there is no such folder; name a run's folder, or one that holds runs")
    if is_run(path):
        return [path]
    found = sorted(folder for pattern in ("*", "*/*") for folder in path.glob(pattern) if is_run(folder))
    if not found:
        raise RunError(f"{path}: holds no run; name the folder that `sslkit run` has written")
    return found


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's.

    Args:
        folder: That may be anything.
    """
    return any((folder / name).is_file() for name in _MARKS)


def _read_run(folder: Path) -> Run:
    """Read what there is; the first file that cannot be read is the reason of a broken run."""
    problems: list[str] = []
    recipe, summary, state, card = (
        _table(folder / name, problems) for name in ("resolved.toml", "summary.json", "status.json", "backbone.json")
    )
    state = summary or state
    scores = []
    paths = sorted(folder.glob("evaluate/*/metrics.json"), key=lambda path: (_number(path.parent), path))
    for path in paths:
        if _is_of(recipe, path.parent):
            results = _table(path, problems).get("results", ())
            scores += _scores(results, path, _number(path.parent), path.with_name("predictions.npz"), problems)
    if not paths:
        scores += _scores(summary.get("results", ()), folder / "summary.json", -1, None, problems)
    scores = [_placed(score, recipe) for score in scores]
    lineage, name, seed, seconds = card.get("lineage"), recipe.get("name"), recipe.get("seed"), summary.get("seconds")
    return Run(
        folder,
        str(name or state.get("name") or folder.name) + _of_weights(recipe),
        "broken" if problems else str(state.get("status", "begun")),
        problems[0] if problems else str(state.get("reason", "")),
        seed if isinstance(seed, int) else None,
        seconds if isinstance(seconds, int | float) else None,
        recipe,
        str(lineage.get("data", "")) if isinstance(lineage, dict) else "",
        tuple(scores),
    )


def _of_weights(recipe: Mapping[str, Any]) -> str:
    """Return which weights a run evaluated that did not pretrain any, the end of their path."""
    weights = recipe.get("weights")
    if "pretrain" in recipe or not isinstance(weights, str):
        return ""
    return f" of {'/'.join(Path(weights).parts[-2:])}"


def _table(path: Path, problems: list[str]) -> dict[str, Any]:
    """Return a file's table, empty if there is none; note why it cannot be read."""
    try:
        if path.suffix == ".toml" and path.exists():
            return tomllib.loads(path.read_text(encoding="utf-8"))
        return read_json(path) or {}
    except (RunError, OSError, ValueError, RecursionError) as error:
        problems.append(str(error) if isinstance(error, RunError) else f"{path}: cannot be read: {error}")
        return {}


def _number(folder: Path) -> int:
    """Return the number before a folder's name, which is that of its `[[evaluate]]` table; -1 if it has none."""
    number = folder.name.partition("-")[0]
    return int(number) if number.isdecimal() else -1


def _is_of(recipe: Mapping[str, Any], folder: Path) -> bool:
    """Tell whether an evaluation's folder belongs to the recipe; one begun with others may have left theirs."""
    tables = recipe.get("evaluate")
    names = [table.get("name") for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    return not names or folder.name in [f"{number}-{name}" for number, name in enumerate(names)]


def _scores(rows: Any, source: Path, index: int, file: Path | None, problems: list[str]) -> list[Score]:
    """Return the scores that a file lists; none, and a problem noted, if it lists anything else."""
    try:
        return [_score(row, index, file) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        problems.append(f"{source}: holds no list of results: {type(error).__name__}: {error}")
        return []


def _score(row: Mapping[str, Any], index: int, file: Path | None) -> Score:
    value, interval, n = row["value"], row.get("interval"), row.get("n")
    prefix = row.get("predictions") or f"{row['weights']}.{row['features']}"
    return Score(
        evaluation=str(row["evaluation"]),
        data=str(row["data"]),
        features=str(row["features"]),
        weights=str(row["weights"]),
        metric=str(row["metric"]),
        value=float(value) if value is not None and math.isfinite(value) else None,
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        n=None if n is None else int(n),
        seed=int(row.get("seed") or 0),
        split=str(row.get("split", "test")),
        index=int(row.get("index", index)),
        fingerprint=str(row.get("data_fingerprint") or ""),
        metrics=dict(row.get("metrics") or {}),
        file=file,
        prefix=f"{prefix}.",
    )


def _placed(score: Score, recipe: Mapping[str, Any]) -> Score:
    """Add what only the recipe knows of a score: a recipe that evaluates random weights is about them."""
    of_random = recipe.get("weights") == "random" and "pretrain" not in recipe
    own = ("pretrained", "random") if of_random else ("pretrained",)
    return replace(score, options=options_of(recipe, score.index), is_baseline=score.weights not in own)


def _with_settings(runs: Sequence[Run]) -> list[Run]:
    """Say of each score by which options it differs from others of the same evaluation and data in a run."""
    telling: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        tables: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
        for score in run.scores:
            tables.setdefault((score.evaluation, score.data), {})[score.index] = score.options
        for key, by_index in tables.items():
            telling.setdefault(key, set()).update(differing(by_index.values()))
    return [replace(run, scores=tuple(_told_apart(run.scores, telling))) for run in runs]


def _told_apart(scores: Iterable[Score], telling: Mapping[tuple[str, str], set[str]]) -> Iterator[Score]:
    """Give the scores of a run their settings; equal tables, of which there need be only one, are counted."""
    tables: dict[tuple[str, ...], list[int]] = {}
    for score in scores:
        setting = in_words(score.options, telling[score.evaluation, score.data])
        found = replace(score, setting=setting)
        alike = tables.setdefault(found.what, [])
        if score.index not in alike:
            alike.append(score.index)
        number = alike.index(score.index) + 1
        yield found if number == 1 else replace(score, setting=f"{setting}, no. {number}".removeprefix(", "))
