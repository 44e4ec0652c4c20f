"""From a `Recipe` back to TOML: everything filled in, so that running the file repeats the run.

Called by `engine.run`, which writes `resolved.toml`, and by `components` for the snippets that it prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import tomli_w

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
    """Return the recipe as plain values without `schema` and `derived`; what a run is compared by."""
    tree: dict[str, Any] = {
        "name": recipe.name,
        "description": recipe.description,
        "requires": recipe.requires,
        "plugins": recipe.plugins,
        "seed": recipe.seed,
        "weights": recipe.weights,
        "partial_weights": recipe.partial_weights or None,
        "backbone": None if recipe.backbone is None else _table(recipe.backbone),
        "pretrain": None if recipe.pretrain is None else _pretrain(recipe.pretrain),
        "evaluate": [_evaluate(plan) for plan in recipe.evaluate],
        "export": [_table(choice) for choice in recipe.export],
    }
    plain: dict[str, Any] = _plain({key: value for key, value in tree.items() if value not in ("", (), [])})
    return plain


def _pretrain(plan: PretrainPlan) -> dict[str, Any]:
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
        **{part: None if (choice := getattr(plan, part)) is None else _table(choice) for part in parts},
        "schedule": {name: _table(choice) for name, choice in plan.schedules.items()},
        "callbacks": [_table(each.callback) | _data(each.data) for each in plan.callbacks],
    }


def _evaluate(plan: EvaluatePlan) -> dict[str, Any]:
    return _table(plan.evaluation) | _data(plan.data)


def _data(choice: Choice | None) -> dict[str, Any]:
    return {"data": None if choice is None else _table(choice)}


def _table(choice: Choice) -> dict[str, Any]:
    return {"name": choice.component.name, **choice.keys, **choice.options}


def _plain(value: Any) -> Any:
    """Return a value as TOML knows it; None, which TOML has not, is left out."""
    if isinstance(value, pydantic.BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
