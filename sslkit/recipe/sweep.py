"""A study: the recipes of all its runs, from one recipe with a [sweep] table.

Enters: a file and overrides. Leaves: a `Sweep`, every point of it a checked recipe with an identity, and the charts
that its report is to draw; or one `RecipeError` with the problems of all points. Called by `sslkit sweep`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.recipe.axes import SEED, Axis, checked_chart, read_axes, read_reference
from sslkit.recipe.merge import load_document, merged, names_no_path
from sslkit.recipe.plan import Recipe
from sslkit.recipe.read import Document
from sslkit.recipe.resolve import resolve
from sslkit.recipe.schema import RecipeKeys, SweepKeys
from sslkit.recipe.write import resolved_tree
from sslkit.registry.options import validate
from sslkit.text import one_line

_MAX_POINTS: Final = 100_000  # a typing error, not a study
_NO_MATTER: Final = ("name", "description", "requires", "plugins")  # for what a run computes
_ID_LENGTH: Final = 10


@dataclass(frozen=True)
class Point:
    """One run of a study.

    Attributes:
        number: Its place, from 1.
        labels: Axis to label; the seed is none of them.
        recipe: Checked.
        tree: The recipe as a file would have it, paths absolute.
        id: What tells its results from those of other recipes: a hash of everything that matters to them.
        pretraining: The same of its pretraining alone; empty if it pretrains nothing.
    """

    number: int
    labels: Mapping[str, str]
    recipe: Recipe
    tree: dict[str, Any]
    id: str
    pretraining: str

    @property
    def title(self) -> str:
        """Labels and seed on a line."""
        return ", ".join([*(f"{axis} {label}" for axis, label in self.labels.items()), f"seed {self.recipe.seed}"])


@dataclass(frozen=True)
class Sweep:
    """A study, as its recipe describes it.

    Attributes:
        name: The recipe's.
        description: The recipe's.
        axes: Without that of the seeds.
        seeds: Of every point, the slowest to change: all points of one seed come before the next.
        points: All runs, in order.
        charts: The [[sweep.report]] tables; axes are called by their names.
        references: Numbers to see charts beside, by the file's name in the charts.
    """

    name: str
    description: str
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    charts: tuple[dict[str, Any], ...]
    references: Mapping[str, Any]


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a recipe with a [sweep] table and check every point of it.

    Args:
        path: The TOML file.
        overrides: Changes to what all runs have in common, such as `pretrain.epochs=10`, or to the sweep, such as
            `sweep.axes.seed=[0,1]`.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    document = load_document(Path(path), overrides)
    if "sweep" not in document.tree:
        raise RecipeError(f"{one_line(path)}: has no [sweep] table; sslkit run {one_line(path)} runs it")
    keys, problems = validate(RecipeKeys, document.tree)
    if not isinstance(keys, RecipeKeys) or keys.sweep is None:
        raise RecipeError([f"{document.where(p.key)} {'.'.join(map(str, p.key))}: {p.reason}" for p in problems])
    axes = read_axes(document)
    seeds = tuple(int(value or 0) for axis in axes if axis.key == SEED for value in axis.values) or (keys.seed,)
    axes = [axis for axis in axes if axis.key != SEED]
    points = _points(document, Path(path), overrides, keys.sweep, axes, seeds)
    charts = tuple(checked_chart(chart, axes, document, number) for number, chart in enumerate(keys.sweep.report))
    named = {chart["reference"] for chart in charts if chart["reference"]}
    references = {name: read_reference(Path(path).parent / name, axes) for name in sorted(named)}
    return Sweep(keys.name, keys.description, tuple(axes), seeds, points, charts, references)


def _points(
    document: Document,
    path: Path,
    overrides: Sequence[str],
    keys: SweepKeys,
    axes: Sequence[Axis],
    seeds: Sequence[int],
) -> tuple[Point, ...]:
    lengths = [len(axis.labels) for axis in axes]
    where = document.where(("sweep",))
    if keys.combine == "zip" and len(set(lengths)) > 1:
        counted = ", ".join(f"{axis.name} has {length}" for axis, length in zip(axes, lengths, strict=True))
        raise RecipeError(f"{where} sweep.combine: zip needs as many values on every axis; {counted}")
    if math.prod(lengths) * len(seeds) > _MAX_POINTS:
        raise RecipeError(f"{where} sweep.axes: are {math.prod(lengths) * len(seeds):,} runs; {_MAX_POINTS:,} at most")
    steps = (
        zip(*map(range, lengths), strict=True)
        if keys.combine == "zip" and axes
        else itertools.product(*map(range, lengths))
    )
    chosen = list(steps)
    base = Document(
        {key: value for key, value in document.tree.items() if key != "sweep"}, document.places, document.source
    )
    problems: dict[str, None] = {}
    points: list[Point] = []
    for number, (seed, indices) in enumerate(itertools.product(seeds, chosen), 1):
        labels = {axis.name: axis.labels[index] for axis, index in zip(axes, indices, strict=True)}
        try:
            changed = base
            for axis, index in zip(axes, indices, strict=True):
                changed = merged(changed, axis.pieces[index], axis.places[index], path.resolve().parent)
            changed = merged(changed, {SEED: seed}, where, path.parent)
            recipe = resolve(changed, path, overrides)
        except RecipeError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        points.append(Point(number, labels, recipe, changed.tree, *_identities(recipe)))
    if problems:
        raise RecipeError(list(problems))
    _require_distinct(points, where)
    return tuple(points)


def _require_distinct(points: Sequence[Point], where: str) -> None:
    first: dict[str, Point] = {}
    for point in points:
        other = first.setdefault(point.id, point)
        if other is not point:
            raise RecipeError(f"{where} sweep: {point.title} is the same run as {other.title}; leave one out")


def _identities(recipe: Recipe) -> tuple[str, str]:
    """Return the hashes of a recipe and of its pretraining: of all that matters to the results, wherever data lies."""
    tree = resolved_tree(recipe)
    files = [hashlib.sha256(plugin.read_bytes()).hexdigest() for plugin in recipe.plugins]
    whole = {key: value for key, value in tree.items() if key not in _NO_MATTER} | {"files": files}
    if not names_no_path(str(whole.get("weights", ""))):
        whole["weights"] = Path(str(whole["weights"])).parts[-2:] if whole.get("weights") else None
    own = {key: whole.get(key) for key in (SEED, "pretrain", "files")}
    return _hash(whole), _hash(own) if recipe.pretrain is not None else ""


def _hash(value: Any) -> str:
    text = json.dumps(_without_places(value), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: {name: item for name, item in below.items() if name != "folder"}
            if key == "data" and isinstance(below, dict)
            else _without_places(below)
            for key, below in value.items()
        }
    return [_without_places(item) for item in value] if isinstance(value, list | tuple) else value
