"""What varies in a study, and what its axes and points may be called.

Enters: the [sweep] table of a recipe. Leaves: its axes. Called by `sweep`; by `charts` and all else that names axes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import pydantic
from annotated_types import MinLen

from sslkit.errors import RecipeError
from sslkit.recipe.merge import leaf_keys
from sslkit.recipe.read import Document, KeyPath
from sslkit.recipe.schema import RecipeKeys
from sslkit.registry.options import STRICT, validate
from sslkit.text import one_line

SEED: Final = "seed"
"""The axis of repetitions."""

_NOT_SET: Final = ("extends", "schema", "sweep", "derived")


class _PointKeys(pydantic.BaseModel):
    """Keys of a point of an axis that has a name of its own."""

    model_config = STRICT

    label: Annotated[str, MinLen(1)]
    set: dict[str, Any]
    value: float | None = None


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
    if any(map(_is_point, values)):
        problems = [problem for number, value in enumerate(values) for problem in _faults(value, (*place, number))]
        if problems:
            raise RecipeError([told(document, path, reason) for path, reason in problems])
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
    """Tell a point from a component table, which is a value as any other."""
    return isinstance(value, dict) and ("set" in value or ("label" in value and "name" not in value))


def _faults(point: Any, place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with a point, and with which key."""
    if not isinstance(point, dict):
        yield place, "should be a table with label and set, as others here are"
        return
    misplaced = [key for key in point if key in RecipeKeys.model_fields]
    for key in misplaced:
        meant, *_ = leaf_keys({key: point[key]})
        yield (*place, key), f'unknown key of a point; did you mean "set.{meant}"?'
    own = {key: value for key, value in point.items() if key not in misplaced}
    for path, reason in validate(_PointKeys, ({"set": {}} if misplaced else {}) | own)[1]:
        yield (*place, *path), reason
    set_here = point.get("set")
    for key in set_here if isinstance(set_here, dict) else ():
        if key in _NOT_SET:
            yield (*place, "set", key), f"a point cannot set {key}; only the recipe itself has it"


def told(document: Document, path: KeyPath, reason: str) -> str:
    """Return a problem of a key on a line: where, which key, what is wrong."""
    return one_line(f"{document.where(path)} {'.'.join(map(str, path))}: {reason}", 1000)


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


def same_label(a: str, b: str) -> bool:
    """Tell whether two labels mean the same point: the same text, or the same number.

    Args:
        a: A label.
        b: Another.
    """
    if a == b:
        return True
    one, other = number_of(a), number_of(b)
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9)


def axis_called(text: str, axes: Iterable[Axis]) -> Axis | None:
    """Return the axis that a text means: its name, its key, or an end of its key that is no other one's.

    Args:
        text: As somebody wrote it.
        axes: All there are.
    """
    ending = []
    for axis in axes:
        if text in (axis.name, axis.key or axis.name):
            return axis
        ending += [axis] * axis.key.endswith(f".{text}")
    return ending[0] if len(ending) == 1 else None


def point_called(label: Any, axis: Axis) -> str | None:
    """Return the label of the point of an axis that a value means: 0.10 is "0.1"; None if there is none.

    Args:
        label: A label, or the value that it stands for.
        axis: Of the study.
    """
    text = label_of(label)
    return text if text in axis.labels else next((own for own in axis.labels if same_label(own, text)), None)
