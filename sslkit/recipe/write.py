"""From a `Recipe` back to TOML: everything filled in, so that running the file repeats the run.

Called by `engine.run`, which writes `resolved.toml`, and by `components` for the snippets that it prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import pydantic
import tomli_w

from sslkit.recipe.merge import names_no_path
from sslkit.recipe.plan import CallbackPlan, Choice, EvaluatePlan, PretrainPlan, Recipe
from sslkit.recipe.schema import SCHEMA_VERSION
from sslkit.registry.options import signature_of


def resolved_toml(recipe: Recipe, derived: Mapping[str, Any], data_root: Path) -> str:
    """Return the whole recipe as TOML: defaults filled in, folders absolute, `[derived]` what follows from it."""
    tree = {"schema": SCHEMA_VERSION, **resolved_tree(recipe), "derived": _plain(derived)}
    pretrain = tree.get("pretrain", {})
    measuring = [*pretrain.get("callbacks", ()), *tree.get("evaluate", ())]
    tables = [pretrain.get("data"), *(table.get("data") for table in measuring)]
    plans: list[CallbackPlan | EvaluatePlan] = [
        *(recipe.pretrain.callbacks if recipe.pretrain is not None else ()),
        *recipe.evaluate,
    ]
    choices = [None if recipe.pretrain is None else recipe.pretrain.data, *(plan.data for plan in plans)]
    for table, choice in zip(tables, choices, strict=True):
        if choice is not None and "root" in signature_of(choice.component).engine:
            folder = (data_root / Path(table.pop("folder", ".")).expanduser()).resolve()
            rest = {key: table.pop(key) for key in list(table) if key != "name"}
            table.update({"folder": str(folder), **rest})
    return tomli_w.dumps(tree)


def resolved_tree(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as plain values, all defaults filled, without `schema` and `derived`."""
    return _tree(recipe, _table)


def essential_tree(recipe: Recipe) -> dict[str, Any]:
    """Return the resolved recipe without options that have their default; what a run is known by.

    A plugin that gets a new option would make another recipe of every one that was written before.
    """
    return _tree(recipe, _essential)


def _tree(recipe: Recipe, table: Callable[[Choice], dict[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "name": recipe.name,
        "description": recipe.description,
        "requires": recipe.requires,
        "plugins": recipe.plugins,
        "seed": recipe.seed,
        "weights": recipe.weights,
        "partial_weights": recipe.partial_weights or None,
        "backbone": None if recipe.backbone is None else table(recipe.backbone),
        "pretrain": None if recipe.pretrain is None else _pretrain(recipe.pretrain, table),
        "evaluate": [table(plan.evaluation) | _data(plan.data, table) for plan in recipe.evaluate],
        "export": [table(choice) for choice in recipe.export],
    }
    plain: dict[str, Any] = _plain({key: value for key, value in tree.items() if value not in ("", (), [])})
    return plain


def common_tree(recipes: Iterable[Recipe]) -> dict[str, Any]:
    """Return what recipes have in common: of components that are not the same in all of them an empty table.

    Args:
        recipes: At least one. Of files that they name only the names are told, not where they lie.
    """
    return reduce(_shared, (_placeless(resolved_tree(recipe)) for recipe in recipes))


def _placeless(tree: dict[str, Any]) -> dict[str, Any]:
    if "plugins" in tree:
        tree["plugins"] = [Path(plugin).name for plugin in tree["plugins"]]
    for table in (tree, tree.get("pretrain", {})):
        if "weights" in table and not names_no_path(table["weights"]):
            table["weights"] = Path(table["weights"]).name
    return tree


def _shared(one: Any, other: Any) -> Any:
    """Return the part that two values share; None if that is nothing, of tables an empty one."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.get("name") != other.get("name"):
            return {}
        both = {key: _shared(value, other[key]) for key, value in one.items() if key in other}
        return {key: value for key, value in both.items() if value is not None}
    if _are_tables(one) and _are_tables(other):
        return [_shared(a, b) for a, b in zip(one, other, strict=True)] if len(one) == len(other) else []
    return one if one == other else None


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _pretrain(plan: PretrainPlan, table: Callable[[Choice], dict[str, Any]]) -> dict[str, Any]:
    parts = ("data", "views", "method", "backbone", "head", "objective", "optimizer")
    return {
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "micro_batch_size": plan.micro_batch_size,
        "precision": plan.precision,
        "weights": plan.weights,
        "partial_weights": plan.partial_weights or None,
        "checkpoint_every_steps": plan.checkpoint_every_steps,
        "checkpoint_every_epochs": plan.checkpoint_every_epochs,
        "on_save_error": plan.on_save_error,
        **{part: None if (choice := getattr(plan, part)) is None else table(choice) for part in parts},
        "schedule": {name: table(choice) for name, choice in plan.schedules.items()},
        "callbacks": [table(each.callback) | _data(each.data, table) for each in plan.callbacks],
    }


def _data(choice: Choice | None, table: Callable[[Choice], dict[str, Any]]) -> dict[str, Any]:
    return {"data": None if choice is None else table(choice)}


def _table(choice: Choice) -> dict[str, Any]:
    return {"name": choice.component.name, **choice.keys, **choice.options}


def _essential(choice: Choice) -> dict[str, Any]:
    defaults = {option.name: option.default for option in signature_of(choice.component).options()}
    return {key: value for key, value in _table(choice).items() if key not in defaults or value != defaults[key]}


def _plain(value: Any) -> Any:
    """Return a value as TOML knows it; None, which TOML has not, is left out."""
    if isinstance(value, pydantic.BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
