"""From a recipe and what it extends, with the command line's overrides, to one document.

Tables merge and everything else replaces, with one exception: a component table whose `name` differs replaces
the whole table, or options of the old component would be left over in the new one. Called by `resolve`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslkit.errors import RecipeError
from sslkit.recipe.read import Document, KeyPath, read_document

_OVERRIDE = re.compile(r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\s*=(.*)", re.DOTALL)
_PLAIN_WORD = re.compile(r"[A-Za-z_./~][\w./~-]*")


def load_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a recipe, everything it extends, and apply overrides such as `pretrain.batch_size=512`.

    Raises:
        RecipeError: A file cannot be read, `extends` goes in a circle, or an override does not fit.
    """
    document = _load_chain(path, ())
    for override in overrides:
        _apply_override(document, override)
    return document


def _load_chain(path: Path, above: tuple[Path, ...]) -> Document:
    resolved = path.resolve()
    if resolved in above:
        chain = " -> ".join(step.name for step in (*above[above.index(resolved) :], resolved))
        raise RecipeError(f"{path}: extends itself: {chain}")
    document = read_document(path)
    _make_paths_absolute(document.tree, resolved.parent)
    if "extends" not in document.tree:
        return document
    base = document.tree.pop("extends")
    if not isinstance(base, str):
        raise RecipeError(f"{document.where(('extends',))} extends: should be the path of one recipe")
    base_path = path.parent / base
    if not base_path.exists():
        raise RecipeError(f"{document.where(('extends',))} extends: there is no file {base_path}")
    return _merged(_load_chain(base_path, (*above, resolved)), document)


def _make_paths_absolute(tree: dict[str, Any], folder: Path) -> None:
    """Make what is relative to this file absolute, so that it still means the same in another file."""
    pretrain = tree.get("pretrain")
    for table in (tree, pretrain if isinstance(pretrain, dict) else {}):
        if isinstance(table.get("weights"), str):
            table["weights"] = str(folder / Path(table["weights"]).expanduser())
    if isinstance(tree.get("plugins"), list):
        tree["plugins"] = [
            str(folder / Path(plugin).expanduser()) if isinstance(plugin, str) else plugin
            for plugin in tree["plugins"]
        ]


def _merged(base: Document, child: Document) -> Document:
    places = dict(base.places)
    tree = _merge_tables(base.tree, child.tree, (), places)
    return Document(tree, places | child.places, child.source)


def _merge_tables(
    base: dict[str, Any], child: dict[str, Any], path: KeyPath, places: dict[KeyPath, str]
) -> dict[str, Any]:
    renamed = path and "name" in child and child["name"] != base.get("name", child["name"])
    if renamed:
        _forget(places, path)
        return child
    merged = dict(base)
    for key, value in child.items():
        below = (*path, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge_tables(base[key], value, below, places)
        else:
            _forget(places, below)
            merged[key] = value
    return merged


def _forget(places: dict[KeyPath, str], path: KeyPath) -> None:
    for known in [known for known in places if known[: len(path)] == path]:
        del places[known]


def _apply_override(document: Document, override: str) -> None:
    match = _OVERRIDE.fullmatch(override.strip())
    if match is None:
        raise RecipeError(f"override {override!r}: write it as key=value, such as pretrain.batch_size=512")
    path = tuple(match[1].split("."))
    value = _parse_value(match[2].strip(), override)
    target: Any = document.tree
    place: KeyPath = ()
    for part in path[:-1]:
        key = _step_into(target, part, override)
        place += (key,)
        if isinstance(target, dict):
            target = target.setdefault(str(key), {})
        else:
            target = target[int(key)]
    key = _step_into(target, path[-1], override)
    if key == "name" and place and isinstance(target, dict) and target.get("name", value) != value:
        target.clear()
    target[key] = value
    _forget(document.places, (*place, key))
    document.places[(*place, key)] = f"override {match[1]}"


def _step_into(target: Any, part: str, override: str) -> str | int:
    if isinstance(target, dict):
        return part
    if not isinstance(target, list):
        raise RecipeError(f"override {override!r}: the key before {part!r} holds a value, not a table")
    if not part.isdecimal() or int(part) >= len(target):
        raise RecipeError(f"override {override!r}: {part!r} should be a number below {len(target)}")
    return int(part)


def _parse_value(text: str, override: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = {}
    if set(parsed) == {"value"}:
        return parsed["value"]
    if _PLAIN_WORD.fullmatch(text):  # the shell has eaten the quotes of pretrain.backbone.model="resnet18"
        return text
    raise RecipeError(
        f"override {override!r}: {text!r} is not a TOML value; text with spaces needs quotes: '{override.partition('=')[0]}=\"...\"'"
    )
