"""Whether a run may go on: the same recipe, but for what may change between a run and its continuation.

Enters: a recipe and a run's folder. Leaves: nothing, or one line with every difference. Called by `run`.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from sslkit.errors import RunError
from sslkit.recipe.plan import Recipe
from sslkit.recipe.write import essential_tree, resolved_tree
from sslkit.run_folder import newest_step
from sslkit.studies.recipes import leaves

# What may change between a run and its continuation: how long, and what is measured afterwards.
_MAY_CHANGE = ("description", "requires", "evaluate", "export", "pretrain.epochs", "pretrain.callbacks",
               "pretrain.checkpoint_every_steps", "pretrain.checkpoint_every_epochs",
               "pretrain.on_save_error")  # fmt: skip

_NAMED = 8

_FIRST_FILES = ("log.txt", "plugins")  # written before resolved.toml, which says that there is a run


def require_same_recipe(recipe: Recipe, folder: Path) -> None:
    """Refuse to continue a run with another recipe, and say what differs."""
    path = folder / "resolved.toml"
    if not path.exists():
        found = folder.iterdir() if folder.exists() else ()
        if any(path.name not in _FIRST_FILES and not path.name.startswith(".") for path in found):
            raise RunError(f"{folder}: holds other files and no run; name a new or empty folder")
        return
    if newest_step(folder) == 0:  # nothing was saved that another recipe could not go on from
        return
    changed = [line for key, line in _differences(recipe, path).items() if not key.startswith(_MAY_CHANGE)]
    changed += _changed_files(recipe, folder)
    if changed:
        raise RunError(f"{folder} holds a run of another recipe: {_listed(changed)}; undo that, or name another folder")


def require_nothing_new(recipe: Recipe, folder: Path) -> None:
    """Refuse to call a finished run complete when more, or something else, is asked of it than it has done."""
    asked = ["pretrain.epochs", "evaluate", "export"]
    if recipe.pretrain is None:
        asked += ["weights", "partial_weights", "backbone", "seed", "plugins"]
    new = [line for key, line in _differences(recipe, folder / "resolved.toml").items() if key.startswith(tuple(asked))]
    new += _changed_files(recipe, folder)
    if new:
        advice = (
            "name another folder"
            if recipe.pretrain is None
            else f"for new evaluations: sslkit evaluate {folder} RECIPE; for more epochs start a new run, "
            f"perhaps with pretrain.weights={folder}"
        )
        raise RunError(f"{folder} is complete, but {_listed(new)}; {advice}")


def _changed_files(recipe: Recipe, folder: Path) -> list[str]:
    return [
        f"the file {plugin.name} has changed"
        for plugin in recipe.plugins
        if (copy := folder / "plugins" / plugin.name).exists() and copy.read_bytes() != plugin.read_bytes()
    ]


def _listed(lines: list[str]) -> str:
    more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return "; ".join(lines[:_NAMED]) + more


def _differences(recipe: Recipe, path: Path) -> dict[str, str]:
    """Return key to `key was a, is b` of everything that a recipe has otherwise than a resolved one."""
    former = tomllib.loads(path.read_text(encoding="utf-8"))
    before, after = leaves(former), leaves(json.loads(json.dumps(resolved_tree(recipe))))
    essential = leaves(json.loads(json.dumps(essential_tree(recipe))))
    after = {key: value for key, value in after.items() if key in before or key in essential}  # else an option is new
    return {
        key: f"{key} was {before.get(key, 'absent')}, is {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(("schema", "derived")) and not _is_place(key)
    }


def compared(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe a checkpoint must agree on, leaf by leaf."""
    everything = leaves(json.loads(json.dumps(essential_tree(recipe))))
    return {key: value for key, value in everything.items() if not key.startswith(_MAY_CHANGE) and not _is_place(key)}


def evaluated(recipe: Recipe, number: int) -> dict[str, Any]:
    """Return what of one [[evaluate]] table, and of the data it falls back on, its results depend on."""
    tree = json.loads(json.dumps(essential_tree(recipe)))
    table = tree["evaluate"][number]
    table = {key: value for key, value in table.items() if key not in ("features", "baselines", "num_seeds")}
    table.setdefault("data", tree.get("pretrain", {}).get("data"))
    return {key: value for key, value in leaves(table).items() if not _is_place(key)}


def _is_place(key: str) -> bool:
    """Where data lies may change: the fingerprint of the images tells whether they are the same."""
    return key.endswith("data.folder")
