"""The options of a recipe's `[[evaluate]]` tables: by which evaluations of the same name are told apart.

Enters: the tree of a `resolved.toml`. Leaves: dotted options, those that differ, and words for them. Called by
`collect` and `difference`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sslkit.studies.recipes import last_part, leaves

_MEASURED: Final = ("features", "baselines", "num_seeds")  # of one `[[evaluate]]` table, rows by rows


def options_of(recipe: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the options of an `[[evaluate]]` table, those of its data among them, of folders the last part.

    Args:
        recipe: The tree of a `resolved.toml`, of whatever shape; empty options if it has no such table.
        index: Number of the table.
    """
    tables, pretrain = recipe.get("evaluate"), recipe.get("pretrain")
    if not isinstance(tables, list) or not 0 <= index < len(tables) or not isinstance(tables[index], dict):
        return {}
    lent = {"data": pretrain["data"]} if isinstance(pretrain, dict) and "data" in pretrain else {}
    options = leaves({key: value for key, value in (lent | tables[index]).items() if key not in _MEASURED})
    return {key: last_part(key, value) for key, value in options.items()}


def differing(several: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the options that are not the same everywhere, in the order in which they appear.

    Args:
        several: Options of tables.
    """
    several = list(several)
    names = dict.fromkeys(name for options in several for name in options)
    return [name for name in names if len({repr(options.get(name)) for options in several}) > 1]


def in_words(options: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return some options on a line, such as `birds, k=20`.

    Args:
        options: Of a table.
        names: Those to name; what the table lacks is left out.
    """
    return ", ".join(
        str(options[name])
        if name.startswith("data.") and isinstance(options[name], str)
        else f"{name.removeprefix('data.')}={options[name]}"
        for name in sorted(names)
        if name in options
    )
