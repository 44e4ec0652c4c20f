"""A run's folder: found or created, taken by this run alone, and its first files.

Enters: a recipe and where runs go. Leaves: a folder that is held until the run ends. Called by `run`, in the first
process only.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from sslkit.engine.continuation import require_nothing_new, require_same_recipe
from sslkit.engine.weights import weights_sha256
from sslkit.errors import RunError
from sslkit.lock import locked
from sslkit.recipe.plan import Recipe
from sslkit.recipe.write import resolved_toml
from sslkit.run_folder import new_folder, newest_step, read_json, write_text
from sslkit.text import one_line


def find_run(
    recipe: Recipe, folder: Path | None, held: ExitStack, *, may_lack_data: bool = False
) -> Literal["new", "begun", "complete"]:
    """Take the folder, if it is there, and return how far its run is.

    Args:
        recipe: What is to be run.
        folder: Where; None is a new folder, not named yet.
        held: Holds the folder until it is closed.
        may_lack_data: A run is complete even if evaluations were skipped because their data was not there.

    Raises:
        RunError: Another process has the folder, or it holds another run or other files.
    """
    if folder is None or not folder.exists():
        return "new"
    held.enter_context(locked(folder))
    require_same_recipe(recipe, folder)
    if not _is_finished(folder, may_lack_data=may_lack_data):
        if newest_step(folder) == 0:  # it begins anew, perhaps with another recipe
            for name in ("metrics.jsonl", "bad_images.jsonl"):
                (folder / name).unlink(missing_ok=True)
        return "begun"
    require_nothing_new(recipe, folder)
    return "complete"


def open_folder(recipe: Recipe, runs: Path, into: Path | None, held: ExitStack, *, is_ours: bool) -> Path:
    """Return the run's folder, created and taken.

    Args:
        recipe: What is to be run.
        runs: Where a new folder is named, if `into` is None.
        into: This very folder.
        held: Holds the folder until it is closed.
        is_ours: `find_run` has taken it already.
    """
    folder = new_folder(runs, recipe.name) if into is None else into
    if not is_ours:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(folder))
        require_same_recipe(recipe, folder)  # somebody may have begun another run there in the meantime
    return folder


def require_same_weights(recipe: Recipe, folder: Path) -> None:
    """Refuse to call an evaluation complete when the weights' file is another one now.

    Raises:
        RunError: It is.
    """
    summary = read_json(folder / "summary.json") or {}
    if summary.get("weights_sha256") != weights_sha256(recipe):
        raise RunError(
            f"{folder} is complete, but {recipe.weights} has changed since; name another folder to evaluate it anew"
        )


def write_recipe(folder: Path, recipe: Recipe, derived: Mapping[str, Any], data_root: Path) -> None:
    """Write the recipe as it was given, as it was understood, and the plugin files it lists."""
    for plugin in recipe.plugins:
        (folder / "plugins").mkdir(exist_ok=True)
        shutil.copyfile(plugin, folder / "plugins" / plugin.name)
    given = recipe.source.read_text(encoding="utf-8-sig")
    overrides = "".join(f"# override: {one_line(override)}\n" for override in recipe.overrides)
    write_text(folder / "resolved.toml", resolved_toml(recipe, derived, data_root))
    if recipe.source.resolve().parent != folder.resolve():  # else it is the run's own resolved.toml, run again
        write_text(folder / "recipe.toml", overrides + given)


def _is_finished(folder: Path, *, may_lack_data: bool) -> bool:
    summary = read_json(folder / "summary.json")
    if summary is None or summary.get("status") != "finished":
        return False
    return may_lack_data or not summary.get("skipped")
