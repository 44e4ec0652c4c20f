"""What varies in a study, and what its charts say of that.

Enters: the [sweep] table of a recipe. Leaves: its axes, its charts with axes called by their names, and the numbers
that they are seen beside. Called by `sweep`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.recipe.read import Document, KeyPath, read_document
from sslkit.recipe.schema import ChartKeys
from sslkit.text import did_you_mean, one_line

SEED: Final = "seed"
"""The axis of repetitions."""

_POINT: Final = {"label", "set", "value"}
_NOT_SET: Final = ("extends", "schema", "sweep", "derived")


@dataclass(frozen=True)
class Axis:
    """What varies.

    Attributes:
        name: Its own, or as much of the key as tells it apart.
        key: Of the recipe, dotted; empty for an axis of named points.
        labels: Of its points, in order.
        values: Where each lies on a numeric axis, None if nowhere.
        pieces: Of recipe, one for each point.
        places: Where each stands, `file:line`.
    """

    name: str
    key: str
    labels: tuple[str, ...]
    values: tuple[float | None, ...]
    pieces: tuple[dict[str, Any], ...]
    places: tuple[str, ...]


def read_axes(document: Document) -> list[Axis]:
    """Return what [sweep.axes] lists; its keys may be dotted, quoted or tables.

    Raises:
        RecipeError: An axis is no list, or a point of it is not what it should be.
    """
    found = list(_leaves(document.tree["sweep"]["axes"], ()))
    if not found:
        raise RecipeError(f"{document.where(('sweep',))} sweep.axes: is empty; name a key and a list of values for it")
    dotted = [".".join(path) for path, _ in found]
    names = _short(dotted)
    return [
        _axis(document, key, path, name, values) for (path, values), key, name in zip(found, dotted, names, strict=True)
    ]


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict):
        for key, below in tree.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, tree


def _short(keys: Sequence[str]) -> list[str]:
    """Return for each dotted key its shortest end that no other one has and that begins with a word."""
    endings = [
        [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1) if not parts[start].isdecimal()]
        for parts in (key.split(".") for key in keys)
    ]
    shared = [ending for several in endings for ending in several]
    return [next((ending for ending in several if shared.count(ending) == 1), several[-1]) for several in endings]


def _axis(document: Document, key: str, path: tuple[str, ...], name: str, values: Any) -> Axis:
    place: KeyPath = ("sweep", "axes", *path)
    where = f"{document.where(place)} sweep.axes.{key}"
    if not isinstance(values, list) or not values:
        raise RecipeError(f"{where}: should be a list of values, at least one")
    if key == SEED and not all(type(value) is int and value >= 0 for value in values):
        raise RecipeError(f"{where}: should be whole numbers, 0 or more")
    if any(isinstance(value, dict) and "set" in value for value in values):
        if not all(_is_point(value) for value in values):
            raise RecipeError(f"{where}: each point is a table of label, set and perhaps value, and nothing else")
        if foreign := next((name for value in values for name in value["set"] if name in _NOT_SET), None):
            raise RecipeError(f"{where}: a point cannot set {foreign}; only the recipe itself has it")
        labels, pieces = [value["label"] for value in values], [value["set"] for value in values]
        numbers = [number_of(value.get("value", value["label"])) for value in values]
        key = ""
    else:
        labels, pieces = [label_of(value) for value in values], [{key: value} for value in values]
        numbers = [number_of(value) for value in values]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise RecipeError(f"{where}: {one_line(twice)} stands there twice")
    places = tuple(document.where((*place, number)) for number in range(len(values)))
    return Axis(name, key, tuple(labels), tuple(numbers), tuple(pieces), places)


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= _POINT
        and isinstance(value.get("label"), str)
        and bool(value["label"])
        and isinstance(value.get("set"), dict)
        and isinstance(value.get("value", 0), int | float)
    )


def label_of(value: Any) -> str:
    """Return what to call a value: a component by the last part of its name."""
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"]).rpartition(".")[2]
    return value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False)


def number_of(value: Any) -> float | None:
    """Return a value as a number; a label such as "1/8" or "0.5" is one too. None if it is none.

    Args:
        value: Of an axis, or its label.
    """
    try:
        if isinstance(value, str):
            above, _, below = value.partition("/")
            number = float(above) / float(below or 1)
        else:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def checked_chart(keys: ChartKeys, axes: Sequence[Axis], document: Document, number: int) -> dict[str, Any]:
    """Return a [[sweep.report]] table with its axes by their names.

    Raises:
        RecipeError: It names an axis or a point that there is not.
    """
    place: KeyPath = ("sweep", "report", number)

    def named(key: str, text: str) -> str:
        for axis in axes:
            if text in (axis.name, axis.key):
                return axis.name
        known = [axis.name for axis in axes]
        advice = did_you_mean(text, known) or f"; the axes are {', '.join(known)}"
        raise RecipeError(
            f"{document.where((*place, key))} sweep.report.{number}.{key}: no axis is called {text!r}{advice}"
        )

    chart = keys.model_dump()
    labels = [measure.label for measure in keys.measures]
    for key in ("x", "y", "series"):
        if chart[key] is not None and not (keys.chart == "scatter" and key != "series" and chart[key] in labels):
            chart[key] = named(key, chart[key])
    chart["where"] = {named("where", axis): list(labels) for axis, labels in keys.where.items()}
    for axis in axes:
        for label in chart["where"].get(axis.name, ()):
            if label not in axis.labels:
                advice = did_you_mean(label, axis.labels) or f"; its points are {', '.join(axis.labels)}"
                where = f"{document.where((*place, 'where'))} sweep.report.{number}.where"
                raise RecipeError(f"{where}: {axis.name} has no point {label!r}{advice}")
    return chart


def read_reference(path: Path, axes: Sequence[Axis]) -> dict[str, Any]:
    """Read a file of numbers to see a chart beside; axes may be called by their keys.

    Raises:
        RecipeError: It cannot be read, or holds no such numbers.
    """
    tree = read_document(path).tree
    values = tree.get("values")
    if not isinstance(values, list) or not all(
        isinstance(value, dict) and isinstance(value.get("at"), dict) and isinstance(value.get("value"), int | float)
        for value in values
    ):
        raise RecipeError(f'{path}: needs values = [{{ at = {{ axis = "label" }}, value = 1.0 }}, ...]')
    names = {axis.key: axis.name for axis in axes if axis.key}
    for value in values:
        value["at"] = {names.get(key, key): label_of(label) for key, label in value["at"].items()}
    return tree
