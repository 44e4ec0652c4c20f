"""Resolved recipes leaf by leaf: what runs have in common and where they differ.

Enters: the tree of a `resolved.toml`. Leaves: dotted keys and values. Called by `collect` and `difference`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_FOLLOWS: Final = ("schema", "derived")  # from the version and from the rest


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Return dotted key to value of everything that is no table; tables in arrays count their places.

    Args:
        tree: Tables, arrays and values.
        path: Put before the keys.
    """
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        tree = dict(enumerate(tree))
    if isinstance(tree, dict) and tree:
        pairs = [(f"{path}.{key}" if path else str(key), value) for key, value in tree.items()]
        return {key: leaf for below, value in pairs for key, leaf in leaves(value, below).items()}
    return {path: tree}


def what_leaves(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a resolved recipe that say what is done, not where: of places only the last part.

    Args:
        recipe: The tree of a `resolved.toml`.
    """
    asked = {key: value for key, value in recipe.items() if key not in _FOLLOWS}
    return {key: last_part(key, value) for key, value in leaves(asked).items()}


def last_part(key: str, value: Any) -> Any:
    """Return the last part of a value that is a place, and any other value as it is.

    Args:
        key: Dotted.
        value: Of the key.
    """
    if is_place(key):
        return Path(str(value)).name
    return [Path(str(item)).name for item in value] if key == "plugins" and isinstance(value, list) else value


def is_place(key: str) -> bool:
    """Tell whether a dotted key says where data lies, which may be elsewhere on another machine.

    Args:
        key: Dotted.
    """
    return key.endswith("data.folder")
