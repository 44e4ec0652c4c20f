"""The tiny recipe that a component is examined in: toy partners around it, small images, a few steps.

Enters: a component, its options, and what its author wants otherwise. Leaves: the file of a recipe, which is read as
any other. Called by `subject`.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import tomli_w

from sslkit.recipe.merge import merged
from sslkit.recipe.read import Document
from sslkit.registry.discover import Registry
from sslkit.registry.options import signature_of
from sslkit.registry.register import Component

TOYS: Final = Path(__file__).with_name("toys.py")

_PRETRAIN: Final[dict[str, Any]] = {
    "epochs": 1,
    "batch_size": 16,
    "data": {"name": "builtin.shapes", "image_size": 32, "num_train": 64, "num_validation": 40, "num_test": 40},
    "views": {"name": "builtin.crop_flip", "image_size": 32, "num_views": 2, "crop_on": "device"},
    "method": {"name": "builtin.joint_embedding"},
    "backbone": {"name": "local.toy_backbone"},
    "head": {"name": "local.toy_head"},
    "objective": {"name": "local.toy_objective"},
    "optimizer": {"name": "builtin.sgd", "learning_rate": 0.05, "weight_decay": 1e-3},
}
"""Four steps of an epoch; as many projections as classes, so that objectives with labels fit too."""

_ENGINE_KEYS: Final[dict[str, dict[str, Any]]] = {"optimizer": {"learning_rate": 0.05, "weight_decay": 1e-3}}


def tree_of(
    component: Component, options: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]], plugins: Sequence[Path]
) -> dict[str, Any]:
    """Return the recipe that a component is examined in.

    Args:
        component: Takes the place of its kind.
        options: What its table holds beside the name: its own options, or keys of the engine such as `folder`.
        pieces: Tables to merge, one after the other, as a recipe's that extends another.
        plugins: Plugin files.
    """
    tree: dict[str, Any] = {
        "schema": 1,
        "name": "conformance",
        "plugins": [str(TOYS), *map(str, plugins)],
        "pretrain": copy.deepcopy(_PRETRAIN),
    }
    if component.kind == "objective":
        tree["pretrain"]["views"]["num_views"] = max(2, getattr(component.load(), "min_views", 1))
    if component.kind == "data":  # of few images, or of different sizes
        tree["pretrain"]["batch_size"], tree["pretrain"]["views"]["crop_on"] = 2, "worker"
    if component.kind == "callback":  # which may watch evaluations, too
        tree["evaluate"] = [{"name": "builtin.knn", "k": 5}]
    table = {"name": component.name, **_ENGINE_KEYS.get(component.kind, {}), **options}
    for piece in (_placed(component.kind, table), *pieces):
        tree = merged(Document(tree), _plain(piece), "conformance").tree
    _leave_out_what_the_method_does_not_take(tree, plugins)
    return tree


def written(tree: Mapping[str, Any]) -> Path:
    """Return the file of a recipe; it lives as long as this process."""
    return _written(tomli_w.dumps(tree))


def folder() -> Path:
    """Return a new folder; it lives as long as this process."""
    return Path(tempfile.mkdtemp(dir=_home().name))


@cache
def _written(text: str) -> Path:
    path = folder() / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@cache
def _home() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="sslkit-conformance-", ignore_cleanup_errors=True)


def _placed(kind: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return the piece of recipe that has a component's table in the place of its kind."""
    if kind == "evaluation":
        return {"evaluate": [table]}
    if kind == "exporter":
        return {"export": [table]}
    if kind == "callback":
        return {"pretrain": {"callbacks": [table]}}
    if kind == "schedule":
        return {"pretrain": {"schedule": {"learning_rate": table}}}
    return {"pretrain": {kind: table}}


def _leave_out_what_the_method_does_not_take(tree: dict[str, Any], plugins: Sequence[Path]) -> None:
    pretrain = tree["pretrain"]
    method = Registry.discover([TOYS, *plugins]).get("method", pretrain["method"]["name"])
    for part in ("backbone", "head", "objective"):
        if part not in signature_of(method).engine:
            pretrain.pop(part, None)


def _plain(value: Any) -> Any:
    """Return what TOML can hold: paths as text, tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
