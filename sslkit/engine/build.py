"""From a checked recipe to components, all of them before the first file is written.

Enters: a `Recipe` and where the data is. Leaves: a `Build`: the pretraining, the evaluations with their data,
exporters. A missing transfer set shows here, not after 100 epochs. Called by `run`, and by `check --build`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslkit.engine.artifact import (
    component_card,
    load_backbone,
    load_into,
    normalisation_of_weights,
    rebuild_backbone,
)
from sslkit.engine.assemble import Pretraining, assemble
from sslkit.engine.fit import MisfitError, require_channels
from sslkit.engine.frozen import FrozenModel, require_measurable
from sslkit.engine.interfaces import Data, Evaluation, Exporter, Normalisation
from sslkit.engine.randomness import component_seed, seeded
from sslkit.errors import PluginError, RunError, SslkitError
from sslkit.recipe.plan import Choice, EvaluatePlan, PretrainPlan, Recipe
from sslkit.text import one_line


@dataclass(frozen=True)
class BuiltEvaluation:
    """One [[evaluate]] table, built.

    Attributes:
        name: The component's name, numbered where a recipe names it twice.
        data_name: The data component's name.
    """

    name: str
    data_name: str
    evaluation: Evaluation
    data: Data
    plan: EvaluatePlan


@dataclass
class Build:
    """Everything that a recipe names, ready to run.

    Attributes:
        pretraining: None for a recipe that only evaluates.
        model: The weights to evaluate, for a recipe that only evaluates.
        untrained: The backbone before training, if an evaluation compares with it.
        cards: How the artifact names the components of backbone and head.
        exporters: (name, exporter).
        derived: What follows from the recipe and the data.
    """

    pretraining: Pretraining | None
    model: FrozenModel | None
    untrained: FrozenModel | None
    evaluations: list[BuiltEvaluation]
    cards: dict[str, dict[str, Any] | None]
    exporters: list[tuple[str, Exporter]]
    derived: dict[str, Any] = field(default_factory=dict)


def build(recipe: Recipe, *, data_root: Path | None = None, device: torch.device, workers: int | None = None) -> Build:
    """Build every component of a recipe and open all of its data.

    Raises:
        SslkitError: Something does not exist, is empty, or does not fit; names the recipe's key.
    """
    data: dict[str, Data] = {}
    pretraining, untrained, model = None, None, None
    cards: dict[str, dict[str, Any] | None] = {"backbone": None, "head": None}
    wants_untrained = any("random" in plan.baselines for plan in recipe.evaluate)
    if recipe.pretrain is not None:
        plan = recipe.pretrain
        opened = data[_key(plan.data)] = open_data(plan.data, data_root, recipe.seed)
        pretraining, initial = _build_pretraining(recipe, plan, opened, device, workers, keep_initial=wants_untrained)
        cards = {part: _card(getattr(plan, part)) for part in ("backbone", "head")}
        if initial is not None:
            untrained = pretraining.freeze(initial)
    elif recipe.weights is not None:
        model = load_backbone(recipe.weights, device=str(device), workers=workers)
        model.seed = recipe.seed
        if wants_untrained:
            with seeded(component_seed(recipe.seed, "pretrain.backbone")):
                initial = rebuild_backbone(recipe.weights)
            untrained = FrozenModel(initial, **model.settings())
    evaluations: list[BuiltEvaluation] = []
    measured = model if model is not None else pretraining.method  # type: ignore[union-attr]
    for evaluation in recipe.evaluate:
        for name in evaluation.features:
            require_measurable(name, measured.backbone, getattr(measured, "head", None))
        title = number_if_taken(evaluation.evaluation.component.name, {known.name for known in evaluations})
        choice = evaluation.data or recipe.pretrain.data  # type: ignore[union-attr]
        is_new = _key(choice) not in data
        opened = _open_once(choice, data, data_root, recipe.seed)
        if is_new:  # the pretraining's own images are checked with their views
            size = model.input_size if model is not None else pretraining.view_shape[1]  # type: ignore[union-attr]
            require_channels(measured.backbone, opened, size, choice.path)
        probe = built(evaluation.evaluation, recipe.seed)
        evaluations.append(BuiltEvaluation(title, choice.component.name, probe, opened, evaluation))
    exporters = [(choice.component.name, built(choice, recipe.seed)) for choice in recipe.export]
    result = Build(pretraining, model, untrained, evaluations, cards, exporters)
    if pretraining is not None:
        result.derived = _derived(pretraining)
        _require_same_derived(recipe, result.derived)
    return result


def _build_pretraining(
    recipe: Recipe,
    plan: PretrainPlan,
    data: Data,
    device: torch.device,
    workers: int | None,
    *,
    keep_initial: bool,
) -> tuple[Pretraining, nn.Module | None]:
    seed = recipe.seed
    views = built(plan.views, seed)
    method = build_method(plan, seed, num_samples=len(data.split("pretrain")), num_classes=data.num_classes)
    initial = copy.deepcopy(method.backbone) if keep_initial else None
    if plan.weights is not None:
        load_into(method.backbone, plan.weights, partial=plan.partial_weights)
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
            callbacks=[built(choice, seed) for choice in plan.callbacks],
        )
    return pretraining, initial


def build_method(plan: PretrainPlan, seed: int, *, num_samples: int, num_classes: int | None) -> Any:
    """Build backbone, head, objective and the method that joins them.

    Each is constructed under a seed of its own place in the recipe: adding a probe must not move the initial weights.
    """
    backbone = None if plan.backbone is None else built(plan.backbone, seed)
    if backbone is not None and not isinstance(getattr(backbone, "feature_dim", None), int):
        raise PluginError(f"{plan.backbone.component.name} has no integer feature_dim")  # type: ignore[union-attr]
    head = None if plan.head is None else built(plan.head, seed, in_dim=getattr(backbone, "feature_dim", None))
    engine = {"num_samples": num_samples, "num_classes": num_classes}
    objective = None
    if plan.objective is not None:
        dim = getattr(head, "out_dim", None) or getattr(backbone, "feature_dim", None)
        objective = built(plan.objective, seed, dim=dim, **engine)
    parts = {"backbone": backbone, "head": head, "objective": objective}
    given = {name: part for name, part in parts.items() if part is not None}
    return built(plan.method, seed, **given, **engine)


def normalisation_of(data: Choice) -> Normalisation | None:
    """Return what a data table's `normalize` says."""
    declared = data.keys["normalize"]
    if declared is None:
        return None
    if len(declared.mean) != len(declared.std):
        raise RunError(f"{data.path}.normalize: {len(declared.mean)} means, but {len(declared.std)} deviations")
    return Normalisation(declared.mean, declared.std)


def starting_normalisation(plan: PretrainPlan) -> Normalisation | None:
    """Return the declared normalisation, or that of the weights to start from.

    The two may disagree only where the weights need not fit.
    """
    declared = normalisation_of(plan.data)
    if plan.weights is None:
        return declared
    known, normalisation = normalisation_of_weights(plan.weights)
    if declared is not None and plan.partial_weights:
        return declared
    if known and declared is not None and declared != normalisation:
        raise RunError(f"{plan.data.path}.normalize is {declared}, but the weights were trained with {normalisation}")
    return normalisation if known else declared


def open_data(choice: Choice, data_root: Path | None, seed: int) -> Data:
    """Build a data component; its root is the recipe's `folder` below the data root."""
    folder = choice.keys["folder"]
    root = (data_root or Path()) / Path(folder or ".").expanduser()
    opened: Data = built(choice, seed, root=root)
    return opened


def _open_once(choice: Choice, opened: dict[str, Data], data_root: Path | None, seed: int) -> Data:
    """Open a data table with train and test images; the same table twice is the same data and shares its features."""
    key = _key(choice)
    if key not in opened:
        opened[key] = open_data(choice, data_root, seed)
    for split in ("train", "test"):
        if len(opened[key].split(split)) == 0:
            raise RunError(f"{choice.path}: the {split} split is empty")
    return opened[key]


def _key(choice: Choice) -> str:
    keys = {name: value for name, value in choice.keys.items() if name != "normalize"}  # the backbone's, not the data's
    return repr((choice.component.name, keys, choice.options))


def number_if_taken(name: str, taken: set[str]) -> str:
    """Return a name that no other evaluation of the recipe has: `builtin.knn`, `builtin.knn 2`."""
    numbered = (f"{name} {number}" for number in itertools.count(2))
    return name if name not in taken else next(title for title in numbered if title not in taken)


def built(choice: Choice, seed: int, **engine: Any) -> Any:
    """Build a component under the seed of its place; a fault names the place."""
    with seeded(component_seed(seed, choice.path)):
        try:
            return choice.build(**engine)
        except SslkitError as error:
            error.args = (f"{choice.path} ({choice.component.name}): {error}",)
            raise
        except (TypeError, ValueError) as error:
            raise PluginError(f"{choice.path} ({choice.component.name}): {one_line(error)}") from error


@contextmanager
def naming_the_size(views: Choice) -> Iterator[None]:
    """Name the recipe's key behind an image size that the backbone refuses."""
    try:
        yield
    except MisfitError as error:
        keys = [key for key, value in views.options.items() if value == error.size and not isinstance(value, bool)]
        raise RunError(f"{views.path}.{keys[0]} = {error.size}: {error}" if keys else str(error)) from None


def _card(choice: Choice | None) -> dict[str, Any] | None:
    return None if choice is None else component_card(choice.component.name, choice.options)


def _derived(pretraining: Pretraining) -> dict[str, Any]:
    order = pretraining.order
    return {
        "num_images": order.num_images,
        "steps_per_epoch": order.steps_per_epoch,
        "total_steps": order.steps_per_epoch * pretraining.epochs,
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
