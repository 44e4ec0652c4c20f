"""A recipe's evaluations for other weights than its own.

Enters: a recipe file and weights. Leaves: a `Recipe` that only evaluates. Called by the `evaluate` command.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslkit.errors import RecipeError
from sslkit.recipe.merge import TIMM, load_document, names_no_path
from sslkit.recipe.plan import Recipe
from sslkit.recipe.resolve import resolve
from sslkit.text import one_line

# What weights are called, and what lies beside them, where they say themselves which backbone they belong to.
_WEIGHTS, _CARD, _TIMM = "backbone.safetensors", "backbone.json", "config.json"


def load_evaluation(path: str | Path, weights: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file for its evaluations alone.

    Its [pretrain] table lends its data to evaluations that have none, and its backbone to weights that do not say what
    they belong to.

    Args:
        path: The TOML file.
        weights: As the recipe's key `weights`, but relative to the working directory.
        overrides: Changes such as `evaluate.0.epochs=10`.

    Raises:
        RecipeError: With every problem found, one line each.
    """
    for override in overrides:
        table, _, key = override.partition("=")[0].strip().partition(".")
        if table == "pretrain" and key.partition(".")[0] not in ("data", "backbone"):
            raise RecipeError(f"override {override!r}: nothing is pretrained here; only data and backbone are used")
    document = load_document(Path(path), overrides)
    tree = document.tree
    if not tree.get("evaluate"):
        raise RecipeError(f"{one_line(path)}: has no [[evaluate]] table; name a recipe that evaluates")
    tree["weights"] = weights if names_no_path(weights) else str(Path(weights).expanduser().absolute())
    pretrain = tree.pop("pretrain", None)
    if isinstance(pretrain, dict):
        tree.pop("export", None)
        _lend(pretrain, tree)
    return resolve(document, Path(path), overrides)


def _lend(pretrain: dict[str, Any], tree: dict[str, Any]) -> None:
    data, backbone = pretrain.get("data"), pretrain.get("backbone")
    if isinstance(data, dict):
        own = {key: value for key, value in data.items() if key != "normalize"}
        for table in filter(lambda table: isinstance(table, dict), tree["evaluate"]):
            table.setdefault("data", own)
    if isinstance(backbone, dict) and not _say_themselves(tree["weights"]):
        normalize = {"normalize": data["normalize"]} if isinstance(data, dict) and "normalize" in data else {}
        tree["backbone"] = backbone | normalize | tree.get("backbone", {})


def _say_themselves(weights: str) -> bool:
    path = Path(weights)
    if path.is_dir():
        return any((path / name).exists() for name in (_CARD, _TIMM))
    return weights.startswith(TIMM) or (path.name == _WEIGHTS and path.with_name(_CARD).exists())
