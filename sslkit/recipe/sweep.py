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
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.recipe.axes import SEED, Axis, read_axes, told
from sslkit.recipe.charts import read_charts
from sslkit.recipe.merge import leaf_keys, load_document, merged, names_no_path
from sslkit.recipe.plan import Recipe
from sslkit.recipe.read import Document
from sslkit.recipe.resolve import resolve
from sslkit.recipe.schema import SweepKeys
from sslkit.recipe.write import common_tree, essential_tree
from sslkit.registry.options import validate
from sslkit.text import one_line

_MAX_POINTS: Final = 100_000  # a typing error, not a study
_ID_LENGTH: Final = 10

NO_MATTER: Final = ("name", "description", "requires", "plugins")
"""Keys of a recipe that do not change what a run computes."""


@dataclass(frozen=True)
class Point:
    """One run of a study.

    Attributes:
        number: Its place, from 1.
        labels: Axis to label; the seed is none of them.
        recipe: Checked.
        document: The recipe as a file would have it, paths absolute, with the places of its keys.
        id: What tells its results from those of other recipes: a hash of everything that matters to them.
        pretraining: The same of its pretraining alone; empty if it pretrains nothing.
    """

    number: int
    labels: Mapping[str, str]
    recipe: Recipe
    document: Document = field(repr=False)
    id: str
    pretraining: str

    @property
    def title(self) -> str:
        """Labels and seed on a line."""
        return ", ".join([*(f"{axis} {label}" for axis, label in self.labels.items()), f"seed {self.recipe.seed}"])

    def where(self, problem: str) -> str:
        """Return file and line of the key that a problem is about: most begin with one, such as `pretrain.data`."""
        parts = problem.split(maxsplit=1)[0].rstrip(":").split(".") if problem else []
        return self.document.where(tuple(int(part) if part.isdecimal() else part for part in parts))


@dataclass(frozen=True)
class Sweep:
    """A study, as its recipe describes it.

    Attributes:
        name: The recipe's.
        description: The recipe's; not that of one which it extends.
        axes: Without that of the seeds.
        seeds: Of every point, the slowest to change: all points of one seed come before the next.
        points: All runs, in order.
        charts: The [[sweep.report]] tables; axes are called by their names.
        references: Numbers to see charts beside, by the file's name in the charts.
        overrides: Changes to the recipe, as the command line gave them.
        recipe: What all points have in common, defaults filled in.
        remarks: On charts, what is no mistake but may not be meant; a line each.
    """

    name: str
    description: str
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    charts: tuple[dict[str, Any], ...]
    references: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


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
    keys, problems = validate(SweepKeys, _table(document))
    if not isinstance(keys, SweepKeys):
        raise RecipeError([told(document, ("sweep", *problem.key), problem.reason) for problem in problems])
    axes = read_axes(document)
    _require_free(overrides, axes)
    _require_apart(axes)
    seeds = next((tuple(piece[SEED] for piece in axis.pieces) for axis in axes if axis.key == SEED), None)
    axes = [axis for axis in axes if axis.key != SEED]
    points = _points(document, Path(path), overrides, keys, axes, seeds)
    charts = read_charts(keys.report, axes, [(point.labels, point.recipe) for point in points], document)
    first = points[0].recipe
    return Sweep(
        name=first.name,
        description=first.description if _is_own(document, Path(path), "description") else "",
        axes=tuple(axes),
        seeds=tuple(dict.fromkeys(point.recipe.seed for point in points)),
        points=points,
        charts=tuple(charts.tables),
        references=charts.references,
        overrides=tuple(overrides),
        recipe=common_tree(point.recipe for point in points),
        remarks=tuple(charts.remarks),
    )


def _is_own(document: Document, path: Path, key: str) -> bool:
    """Tell whether a file, or an override, says a key itself, and not what the file extends."""
    return document.where((key,)).rpartition(":")[0] in ("", str(path))


def _require_free(overrides: Sequence[str], axes: Sequence[Axis]) -> None:
    """Refuse an override that an axis would undo."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        for axis in axes:
            if any(_meet(key, leaf) for piece in axis.pieces for leaf in leaf_keys(piece)):
                raise RecipeError(
                    f"override {override!r}: the axis {axis.name} sets it; change the axis, in the recipe or by "
                    f"sweep.axes.{axis.key or axis.name}=[...]"
                )


def _require_apart(axes: Sequence[Axis]) -> None:
    """Refuse an axis that undoes what another one before it sets."""
    for first, second in itertools.combinations(axes, 2):
        for (key, place), (again, other) in itertools.product(_set_by(first), _set_by(second)):
            if f"{key}.".startswith(f"{again}."):
                raise RecipeError(
                    f"{other} sweep.axes: {again} is set by two axes, {first.name} ({place}) and {second.name}; leave "
                    "it out of one of them"
                )


def _set_by(axis: Axis) -> list[tuple[str, str]]:
    """Return the keys that an axis sets, each with its first place."""
    found: dict[str, str] = {}
    for piece, place in zip(axis.pieces, axis.places, strict=True):
        for key in leaf_keys(piece):
            found.setdefault(key, place)
    return list(found.items())


def _meet(one: str, other: str) -> bool:
    """Tell whether two dotted keys are the same, or one is above the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _table(document: Document) -> dict[str, Any]:
    sweep = document.tree["sweep"]
    if not isinstance(sweep, dict):
        raise RecipeError(told(document, ("sweep",), "should be a table"))
    return sweep


def _points(
    document: Document,
    path: Path,
    overrides: Sequence[str],
    keys: SweepKeys,
    axes: Sequence[Axis],
    seeds: Sequence[int] | None,
) -> tuple[Point, ...]:
    """Return every run that the axes ask for; without an axis of seeds each has the seed of its recipe."""
    lengths = [len(axis.labels) for axis in axes]
    where = document.where(("sweep",))
    if keys.combine == "zip" and len(set(lengths)) > 1:
        counted = ", ".join(f"{axis.name} has {length}" for axis, length in zip(axes, lengths, strict=True))
        raise RecipeError(f"{where} sweep.combine: zip needs as many values on every axis; {counted}")
    in_step = keys.combine == "zip" and bool(axes)
    amount = (lengths[0] if in_step else math.prod(lengths)) * len(seeds or [0])
    if amount > _MAX_POINTS:
        raise RecipeError(f"{where} sweep.axes: are {amount:,} runs; {_MAX_POINTS:,} at most")
    ranges = list(map(range, lengths))
    chosen = list(zip(*ranges, strict=True) if in_step else itertools.product(*ranges))
    base = replace(document, tree={key: value for key, value in document.tree.items() if key != "sweep"})
    problems: dict[str, None] = {}
    points: list[Point] = []
    own_or_given: Sequence[int | None] = seeds or [None]
    for number, (seed, indices) in enumerate(itertools.product(own_or_given, chosen), 1):
        labels = {axis.name: axis.labels[index] for axis, index in zip(axes, indices, strict=True)}
        try:
            changed = base
            for axis, index in zip(axes, indices, strict=True):
                changed = merged(changed, axis.pieces[index], axis.places[index])
            if seed is not None:
                changed = merged(changed, {SEED: seed}, where)
            recipe = resolve(changed, path, overrides)
        except RecipeError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        points.append(Point(number, labels, recipe, changed, *_identities(recipe)))
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
    """Return the hashes of a recipe and of its pretraining: of all that matters to the results.

    Of weights and plugin files it is what they hold that counts, and not where they lie; nor where --data-root is.
    """
    tree: dict[str, Any] = json.loads(json.dumps(essential_tree(recipe), default=str))
    files = [hashlib.sha256(plugin.read_bytes()).hexdigest() for plugin in recipe.plugins]
    whole = {key: value for key, value in tree.items() if key not in NO_MATTER} | {"files": files}
    for table in (whole, whole.get("pretrain", {})):
        if "weights" in table:
            table["weights"] = _contents(table["weights"])
    whole.setdefault("weights", None)
    own = {key: whole.get(key) for key in (SEED, "pretrain", "files")}
    if "export" in whole:
        own["export"] = whole["export"]  # done by the run that pretrains
    return _hash(whole), _hash(own) if recipe.pretrain is not None else ""


@cache
def _contents(weights: str) -> str:
    """Return a digest of weights; their name, if they are none that lie here yet."""
    path = Path(weights)
    if path.is_dir() and (card := path / "backbone.json").is_file():
        path = card  # holds the digest of the weights beside it
    if not names_no_path(weights) and path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return weights


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_ID_LENGTH]
