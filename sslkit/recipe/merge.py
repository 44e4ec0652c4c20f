"""From a recipe and what it extends, with the command line's overrides, to one document.

Tables merge and everything else replaces, with three exceptions. A component table whose `name` differs replaces the
whole table, or options of the old component would be left over in the new one. A table whose keys are numbers changes
those places of a list: `evaluate.0.epochs = 10`. And a recipe that names another method than its base need not take
over the base's head and objective: what the new method has no use for is left out. Called by `resolve` and `sweep`.
"""

from __future__ import annotations

import os.path
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.recipe.read import Document, KeyPath, read_document, require_plain
from sslkit.text import one_line

RANDOM: Final = "random"
"""Names weights as they are initialised."""

TIMM: Final = "timm:"
"""Before the name of weights that timm offers."""

_STAGES: Final = {"pretrain": "pretrains", "evaluate": "evaluates", "export": "exports"}
_MAX_CHAIN = 100  # files; each is a call within the one before
_OVERRIDE = re.compile(r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\s*=(.*)", re.DOTALL)
_PLAIN_WORD = re.compile(r"[A-Za-z_./~][\w./~-]*")

OVERRIDE: Final = "override"
"""The place of what no file says."""


def load_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a recipe, everything it extends, and apply overrides such as `pretrain.batch_size=512`.

    Raises:
        RecipeError: A file cannot be read, `extends` goes in a circle, an override does not fit, or a text is not
            Unicode, as names of files need not be.
    """
    for text in (str(path.absolute()), *overrides):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise RecipeError(f"{one_line(text)}: is not UTF-8, and a recipe cannot say it; rename it")
    document = _load_chain(path, ())
    for override in sorted(overrides, key=_names_first):
        _apply_override(document, override)
    if overrides:
        require_plain(document, document.tree)
        _make_paths_absolute(document.tree, Path.cwd())  # those of files are absolute by now
    return document


def _names_first(override: str) -> tuple[bool, int]:
    """Order overrides: another name of a component replaces its table, so it goes before what is said of that table."""
    *above, key = override.partition("=")[0].strip().split(".")
    return (False, len(above)) if above and key == "name" else (True, 0)


def _load_chain(path: Path, above: tuple[Path, ...]) -> Document:
    document = read_document(path)
    resolved = path.resolve()
    if resolved in above:
        chain = " -> ".join(step.name for step in (*above[above.index(resolved) :], resolved))
        raise RecipeError(f"{path}: extends itself: {chain}")
    if len(above) >= _MAX_CHAIN:
        raise RecipeError(f"{path}: extends more than {_MAX_CHAIN} files, one after the other")
    _undot_axes(document)
    _make_paths_absolute(document.tree, resolved.parent)
    if "extends" not in document.tree:
        return document
    base = document.tree.pop("extends")
    if not isinstance(base, str):
        raise RecipeError(f"{document.where(('extends',))} extends: should be the path of one recipe")
    base_path = _absolute(resolved.parent, base)
    if not os.path.isfile(base_path):  # noqa: PTH113 unlike pathlib's, it answers for any text at all
        raise RecipeError(f"{document.where(('extends',))} extends: there is no file {base_path}")
    extended = _load_chain(base_path, (*above, resolved))
    extended.tree.pop("description", None)  # it is of that file
    return _merged(extended, document)


def merged(document: Document, piece: dict[str, Any], place: str) -> Document:
    """Return a document with a piece of recipe merged onto it, as that of a file that extends it would be.

    Args:
        document: Stays as it is.
        piece: Tables and values; a key with dots, such as "pretrain.batch_size", is the same as tables in tables.
        place: What to call the place of its keys.

    Raises:
        RecipeError: It reaches for a place in a list that the list has not.
    """
    tree = nested(piece)
    places = dict.fromkeys(_paths(tree), place)
    return _merged(document, Document(tree, places, document.source))


def nested(piece: dict[str, Any]) -> dict[str, Any]:
    """Return a table whose keys have no dots: what is below `a.b` is below `b` in `a`."""
    tree: dict[str, Any] = {}
    for dotted, value in piece.items():
        below = nested(value) if isinstance(value, dict) else value
        for part in reversed(dotted.split(".")):
            below = {part: below}
        tree = _merge_tables(tree, below, (), set())
    return tree


def leaf_keys(piece: dict[str, Any]) -> list[str]:
    """Return the dotted keys of all that a piece of recipe sets."""
    paths = list(_paths(nested(piece)))
    return [".".join(map(str, path)) for path in paths if not any(other[:-1] == path for other in paths)]


def _undot_axes(document: Document) -> None:
    """Write the axes of a study without dots in their keys: both ways to write one are the same axis."""
    sweep = document.tree.get("sweep")
    if not isinstance(sweep, dict) or not isinstance(sweep.get("axes"), dict):
        return
    sweep["axes"] = nested(sweep["axes"])
    document.places = {_undotted(path): place for path, place in document.places.items()}


def _undotted(path: KeyPath) -> KeyPath:
    is_axis = path[:2] == ("sweep", "axes") and len(path) > 2
    return (*path[:2], *str(path[2]).split("."), *path[3:]) if is_axis else path


def _paths(tree: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _make_paths_absolute(tree: dict[str, Any], folder: Path) -> None:
    """Make what is relative to this file absolute, so that it still means the same in another file."""
    pretrain = tree.get("pretrain")
    for table in (tree, pretrain if isinstance(pretrain, dict) else {}):
        if isinstance(table.get("weights"), str):
            table["weights"] = _weights_path(folder, table["weights"])
    if isinstance(tree.get("plugins"), list):
        tree["plugins"] = [
            str(_absolute(folder, plugin)) if isinstance(plugin, str) else plugin for plugin in tree["plugins"]
        ]
    if isinstance(tree.get("sweep"), dict):
        _make_sweep_absolute(tree["sweep"], folder)


def _make_sweep_absolute(sweep: dict[str, Any], folder: Path) -> None:
    """Make the paths of a study absolute: of the numbers beside its charts, and in what its axes change."""
    charts = sweep.get("report")
    for chart in charts if isinstance(charts, list) else ():
        if isinstance(chart, dict) and isinstance(chart.get("reference"), str):
            chart["reference"] = str(_absolute(folder, chart["reference"]))
    axes = sweep["axes"] if isinstance(sweep.get("axes"), dict) else {}
    pretrain = axes.get("pretrain")
    for table in (axes, pretrain if isinstance(pretrain, dict) else {}):
        if isinstance(table.get("weights"), list):
            table["weights"] = [_weights_path(folder, weights) for weights in table["weights"]]
    for points in axes.values():
        for point in points if isinstance(points, list) else ():
            if isinstance(point, dict) and isinstance(point.get("set"), dict):
                point["set"] = nested(point["set"])
                _make_paths_absolute(point["set"], folder)


def _weights_path(folder: Path, weights: Any) -> Any:
    return str(_absolute(folder, weights)) if isinstance(weights, str) and not names_no_path(weights) else weights


def names_no_path(weights: str) -> bool:
    """Return whether weights are named in another way than by a path: random ones, or those that timm offers."""
    return weights == RANDOM or weights.startswith(TIMM)


def _absolute(folder: Path, text: str) -> Path:
    return folder / os.path.expanduser(text)  # noqa: PTH111 pathlib's raises where a user has no home


def _merged(base: Document, child: Document) -> Document:
    replaced: set[KeyPath] = set()
    try:
        tree = _merge_tables(base.tree, child.tree, (), replaced)
    except _NoSuchPlace as error:
        raise RecipeError(f"{child.where(error.path)} {'.'.join(map(str, error.path))}: {error}") from None
    counted = {tuple(map(_counted, path)): place for path, place in child.places.items()}
    places = _without(base.places, replaced) | child.places | counted
    return Document(tree, places, child.source, _before_method(base, child.tree) | child.before_method)


def _before_method(base: Document, child: dict[str, Any]) -> frozenset[str]:
    """Return which tables of [pretrain] stand there for a method that the child has changed for another."""
    above, below = (tree["pretrain"] if isinstance(tree.get("pretrain"), dict) else {} for tree in (base.tree, child))
    written = frozenset(below)
    if _method_of(below) in (None, _method_of(above)):
        return base.before_method - written
    return frozenset(above) - written


def _method_of(pretrain: dict[str, Any]) -> Any:
    method = pretrain.get("method")
    return method.get("name") if isinstance(method, dict) else None


def _counted(part: str | int) -> str | int:
    """Return a part of a path that steps into a list as the number that it is."""
    return int(part) if isinstance(part, str) and part.isdecimal() else part


def _merge_tables(base: dict[str, Any], child: dict[str, Any], path: KeyPath, replaced: set[KeyPath]) -> dict[str, Any]:
    if path and "name" in child and child["name"] != base.get("name", child["name"]):
        replaced.add(path)
        return child
    merged = dict(base)
    for key, value in child.items():
        below = (*path, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge_tables(base[key], value, below, replaced)
        elif isinstance(base.get(key), list) and _names_places(value):
            merged[key] = _merge_places(base[key], value, below, replaced)
        else:
            replaced.add(below)
            merged[key] = value
    return merged


class _NoSuchPlace(Exception):
    def __init__(self, path: KeyPath, length: int) -> None:
        super().__init__(f"is no place in a list of {length}, counted from 0")
        self.path = path


def _names_places(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(key.isdecimal() for key in value)


def _merge_places(base: list[Any], child: dict[str, Any], path: KeyPath, replaced: set[KeyPath]) -> list[Any]:
    merged = list(base)
    for key, value in child.items():
        if int(key) >= len(base):
            raise _NoSuchPlace((*path, key), len(base))
        below = (*path, int(key))
        if isinstance(value, dict) and isinstance(base[int(key)], dict):
            merged[int(key)] = _merge_tables(base[int(key)], value, below, replaced)
        else:
            replaced.add(below)
            merged[int(key)] = value
    return merged


def _without(places: dict[KeyPath, str], replaced: set[KeyPath]) -> dict[KeyPath, str]:
    """Return the places of keys that still hold what stands there."""
    return {
        path: place
        for path, place in places.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }


def _apply_override(document: Document, override: str) -> None:
    match = _OVERRIDE.fullmatch(override.strip())
    if match is None:
        raise RecipeError(f"override {override!r}: write it as key=value, such as pretrain.batch_size=512")
    path = tuple(match[1].split("."))
    if len(path) > 1 and path[0] in _STAGES and path[0] not in document.tree:
        raise RecipeError(f"override {override!r}: this recipe {_STAGES[path[0]]} nothing; there is no {match[1]}")
    value = _parse_value(match[2].strip(), override)
    target: Any = document.tree
    place: KeyPath = ()
    for part in path[:-1]:
        key = _step_into(target, part, override)
        place += (key,)
        if isinstance(target, dict):
            if key not in target:
                document.places[place] = OVERRIDE
            target = target.setdefault(str(key), {})
        else:
            target = target[int(key)]
    key = _step_into(target, path[-1], override)
    set_path = (*place, key)
    if key == "name" and place and isinstance(target, dict) and target.get("name", value) != value:
        target.clear()
        set_path = place
    target[key] = value
    document.places = _without(document.places, {set_path}) | {set_path: OVERRIDE}
    if path == ("pretrain", "method", "name"):
        document.before_method = frozenset(document.tree["pretrain"]) - {"method"}
    elif path[0] == "pretrain":
        document.before_method -= {*path[1:2]}


def _step_into(target: Any, part: str, override: str) -> str | int:
    if isinstance(target, dict):
        return part
    if not isinstance(target, list):
        raise RecipeError(f"override {override!r}: the key before {part!r} holds a value, not a table")
    if not part.isdecimal() or int(part) >= len(target):
        raise RecipeError(f"override {override!r}: {part!r} is no place in a list of {len(target)}, counted from 0")
    return int(part)


def _parse_value(text: str, override: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {}
    if set(parsed) == {"value"}:
        return parsed["value"]
    if _PLAIN_WORD.fullmatch(text):  # the shell has eaten the quotes of pretrain.backbone.model="resnet18"
        return text
    quoted = f"'{override.partition('=')[0]}=\"...\"'"
    raise RecipeError(f"override {override!r}: {text!r} is not a TOML value; such text needs quotes: {quoted}")
