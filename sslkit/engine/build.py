"""From a checked recipe to components, all of them before the first file is written.

Enters: a `Recipe` and where the data is. Leaves: a `Build`: the pretraining, the evaluations with their data,
exporters. A missing transfer set shows here, not after 100 epochs. Called by `run`, and by `check --build`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslkit.engine.artifact import component_card
from sslkit.engine.assemble import Pretraining, assemble
from sslkit.engine.choices import OpenedData, built, naming_the_size
from sslkit.engine.evaluations import BuiltEvaluation, build_evaluations
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Exporter, Normalisation
from sslkit.engine.randomness import component_seed, seeded
from sslkit.engine.weights import (
    load_backbone,
    load_into,
    normalisation_of_weights,
    trained_with,
    untrained_like,
)
from sslkit.errors import PluginError, RunError
from sslkit.recipe.merge import RANDOM
from sslkit.recipe.plan import CallbackPlan, Choice, PretrainPlan, Recipe


@dataclass
class Build:
    """Everything that a recipe names, ready to run.

    Attributes:
        pretraining: None for a recipe that only evaluates.
        model: The weights to evaluate, for a recipe that only evaluates.
        untrained: The backbone before training, if an evaluation compares with it.
        skipped: Evaluations whose data is not there, with the reason.
        cards: How the artifact names the components of backbone and head.
        exporters: (name, exporter).
        derived: What follows from the recipe and the data.
    """

    pretraining: Pretraining | None
    model: FrozenModel | None
    untrained: FrozenModel | None
    evaluations: list[BuiltEvaluation]
    skipped: dict[str, str]
    cards: dict[str, dict[str, Any] | None]
    exporters: list[tuple[str, Exporter]]
    derived: dict[str, Any] = field(default_factory=dict)


def build(
    recipe: Recipe,
    *,
    data_root: Path | None = None,
    device: torch.device,
    workers: int | None = None,
    skip_absent: bool = False,
) -> Build:
    """Build every component of a recipe and open all of its data.

    Args:
        recipe: The checked recipe.
        data_root: What its `folder` keys are below.
        device: Where it will run.
        workers: Loader processes; None chooses.
        skip_absent: Leave out evaluations whose data cannot be opened, and list them.

    Raises:
        SslkitError: Something does not exist, is empty, or does not fit; names the recipe's key.
    """
    data = OpenedData(data_root, recipe.seed)
    pretraining, untrained, model = None, None, None
    cards: dict[str, dict[str, Any] | None] = {"backbone": None, "head": None}
    wants_untrained = any("random" in plan.baselines for plan in recipe.evaluate)
    if recipe.pretrain is not None:
        plan = recipe.pretrain
        pretraining, initial = _build_pretraining(recipe, plan, data, device, workers, keep_initial=wants_untrained)
        cards = {part: _card(getattr(plan, part)) for part in ("backbone", "head")}
        if cards["head"] is not None:
            cards["head"]["num_classes"] = data.open(plan.data).num_classes
        if initial is not None:
            untrained = pretraining.freeze(initial)
    else:
        model = load_frozen(recipe, device, workers)
        if wants_untrained:
            untrained = FrozenModel(_untrained_backbone(recipe), **model.settings())
    if untrained is not None:
        untrained.is_trained = False
    measured = model if model is not None else pretraining.method  # type: ignore[union-attr]
    size = model.input_size if model is not None else pretraining.view_shape[1]  # type: ignore[union-attr]
    evaluations, skipped = build_evaluations(recipe, data, measured, size, skip_absent=skip_absent)
    exporters = [(choice.component.name, built(choice, recipe.seed)) for choice in recipe.export]
    result = Build(pretraining, model, untrained, evaluations, skipped, cards, exporters)
    if pretraining is not None:
        result.derived = _derived(pretraining)
        _require_same_derived(recipe, result.derived)
    return result


def require_labels_to_train(method: Any, data: Data, plan: PretrainPlan) -> None:
    """Refuse an objective that needs labels on data that has none.

    Raises:
        RunError: It has none.
    """
    if getattr(getattr(method, "objective", None), "needs_labels", False) and data.num_classes is None:
        name = "" if plan.objective is None else f" ({plan.objective.component.name})"
        raise RunError(f"pretrain.objective{name} needs labels, and pretrain.data has none; use data with labels")


def _build_pretraining(
    recipe: Recipe,
    plan: PretrainPlan,
    opened: OpenedData,
    device: torch.device,
    workers: int | None,
    *,
    keep_initial: bool,
) -> tuple[Pretraining, nn.Module | None]:
    seed = recipe.seed
    data = opened.open(plan.data)
    views = built(plan.views, seed)
    initial: list[nn.Module] = []

    def begin(backbone: nn.Module) -> None:
        if keep_initial:
            initial.append(copy.deepcopy(backbone))
        if plan.weights is not None:
            load_into(backbone, plan.weights, partial=plan.partial_weights)

    num_samples = len(data.split("pretrain"))
    method = build_method(plan, seed, num_samples=num_samples, num_classes=data.num_classes, begin=begin)
    require_labels_to_train(method, data, plan)
    if trained_with(method.backbone):
        raise RunError(
            "pretrain.backbone brings weights along; name builtin.timm there, and pretrain.weights = 'timm:...'"
        )
    with naming_the_size(plan.views):
        pretraining = assemble(
            method,
            data,
            views,
            lambda groups: plan.optimizer.build(params=groups),
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.optimizer.keys["learning_rate"],
            learning_rate_scaling=plan.optimizer.keys["learning_rate_scaling"],
            weight_decay=plan.optimizer.keys["weight_decay"],
            schedules={name: built(choice, seed) for name, choice in plan.schedules.items()},
            normalisation=starting_normalisation(plan),
            precision=plan.precision,
            micro_batch_size=plan.micro_batch_size,
            seed=seed,
            device=device,
            workers=workers,
            checkpoint_every_steps=plan.checkpoint_every_steps,
            checkpoint_every_epochs=plan.checkpoint_every_epochs,
            on_save_error=plan.on_save_error,
            callbacks=[
                build_callback(watcher, opened.open(watcher.data or plan.data), seed) for watcher in plan.callbacks
            ],
        )
    return pretraining, next(iter(initial), None)


def load_frozen(recipe: Recipe, device: torch.device | str = "cpu", workers: int | None = None) -> FrozenModel:
    """Load the weights of a recipe that only evaluates.

    Raises:
        RunError: It names none, or they do not fit; see `load_backbone`.
    """
    table = recipe.backbone
    backbone = None if table is None else built(table, recipe.seed)
    weights = recipe.weights
    brings_its_own = backbone is not None and bool(trained_with(backbone))
    if weights == RANDOM and brings_its_own:
        raise RunError(f'weights = "random", but {table.component.name} brings weights along; name another [backbone]')  # type: ignore[union-attr]
    if weights is None and brings_its_own:
        weights = RANDOM  # as it is
    if weights is None:
        raise RunError(f"{recipe.source}: evaluates, but says not what: sslkit evaluate WEIGHTS {recipe.source}")
    model = load_backbone(
        weights,
        backbone=backbone,
        normalisation=None if table is None else _declared_normalisation(table),
        input_size=None if table is None else table.keys["input_size"],
        partial=recipe.partial_weights,
        device=str(device),
        workers=workers,
    )
    model.seed = recipe.seed
    return model


def _untrained_backbone(recipe: Recipe) -> nn.Module:
    """Return a random backbone of the kind that a recipe's weights belong to."""
    with seeded(component_seed(recipe.seed, "pretrain.backbone")):
        fresh = None if recipe.weights is None else untrained_like(recipe.weights)
    if fresh is not None:
        return fresh
    again: nn.Module | None = None if recipe.backbone is None else built(recipe.backbone, recipe.seed)
    if again is None or trained_with(again):
        raise RunError('baselines = ["random"]: nothing says how to build this backbone without its weights')
    return again


def build_callback(plan: CallbackPlan, data: Data, seed: int) -> Any:
    """Build a callback, with data if it measures something."""
    return built(plan.callback, seed, data=data) if plan.takes_data else built(plan.callback, seed)


def build_method(
    plan: PretrainPlan,
    seed: int,
    *,
    num_samples: int,
    num_classes: int | None,
    begin: Callable[[nn.Module], None] | None = None,
) -> Any:
    """Build backbone, head, objective and the method that joins them.

    Each is constructed under a seed of its own place in the recipe: adding a probe must not move the initial weights.

    `begin` is given the backbone as it begins, to load weights into it: before the method is built, which may copy it,
    or afterwards where the method brings its own.
    """
    backbone = None if plan.backbone is None else built(plan.backbone, seed)
    if backbone is not None and not isinstance(getattr(backbone, "feature_dim", None), int):
        raise PluginError(f"{plan.backbone.component.name} has no integer feature_dim")  # type: ignore[union-attr]
    if begin is not None and backbone is not None:
        begin(backbone)
    engine = {"num_samples": num_samples, "num_classes": num_classes}
    in_dim = getattr(backbone, "feature_dim", None)
    head = None if plan.head is None else built(plan.head, seed, in_dim=in_dim, num_classes=num_classes)
    objective = None
    if plan.objective is not None:
        dim = getattr(head, "out_dim", None) or getattr(backbone, "feature_dim", None)
        objective = built(plan.objective, seed, dim=dim, **engine)
    parts = {"backbone": backbone, "head": head, "objective": objective}
    given = {name: part for name, part in parts.items() if part is not None}
    method = built(plan.method, seed, **given, **engine)
    if begin is not None and backbone is None:
        begin(method.backbone)
    return method


def method_without_storage(plan: PretrainPlan, seed: int, *, num_samples: int, num_classes: int | None) -> Any:
    """Build the method on torch's meta device; with storage if a component reads a value while it is constructed."""
    try:
        with torch.device("meta"):
            return build_method(plan, seed, num_samples=num_samples, num_classes=num_classes)
    except (NotImplementedError, RuntimeError):
        return build_method(plan, seed, num_samples=num_samples, num_classes=num_classes)


def _declared_normalisation(table: Choice) -> Normalisation | None:
    """Return what the `normalize` of a data or backbone table says."""
    declared = table.keys["normalize"]
    if declared is None:
        return None
    if len(declared.mean) != len(declared.std):
        raise RunError(f"{table.path}.normalize: {len(declared.mean)} means, but {len(declared.std)} deviations")
    return Normalisation(declared.mean, declared.std)


def starting_normalisation(plan: PretrainPlan) -> Normalisation | None:
    """Return the declared normalisation, or that of the weights to start from.

    The two may disagree only where the weights need not fit.
    """
    declared = _declared_normalisation(plan.data)
    if plan.weights is None:
        return declared
    known, normalisation = normalisation_of_weights(plan.weights)
    if declared is not None and plan.partial_weights:
        return declared
    if known and declared is not None and declared != normalisation:
        raise RunError(f"{plan.data.path}.normalize is {declared}, but the weights were trained with {normalisation}")
    return normalisation if known else declared


def _card(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else component_card(choice.component.name, choice.options)


def _derived(pretraining: Pretraining) -> dict[str, Any]:
    order = pretraining.order
    return {
        "num_images": order.num_images,
        "steps_per_epoch": order.steps_per_epoch,
        "total_steps": pretraining.total_steps,
        "learning_rate": pretraining.learning_rate,
    }


def _require_same_derived(recipe: Recipe, derived: Mapping[str, Any]) -> None:
    """Refuse a resolved recipe whose rates or steps would come out otherwise than in the run it records."""
    changed = [
        f"{key} was {recipe.derived[key]}, is {value}"
        for key, value in derived.items()
        if key in recipe.derived and recipe.derived[key] != value
    ]
    if changed:
        raise RunError(f"{recipe.source} [derived]: {'; '.join(changed)}; delete [derived] to run it all the same")
