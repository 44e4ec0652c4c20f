"""A checked recipe: what it names, with every option.

Enters and leaves: nothing. Made by `resolve`, read by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslkit.registry.discover import Registry
from sslkit.registry.options import call
from sslkit.registry.register import Component


@dataclass(frozen=True)
class Choice:
    """A component that a recipe names, with all of its options.

    Attributes:
        path: Its place, such as `pretrain.objective`.
        component: What was named.
        options: Its own options, defaults filled in.
        keys: The engine's keys beside them, defaults filled in; for what has a data table, without it.
    """

    path: str
    component: Component
    options: Mapping[str, Any]
    keys: Mapping[str, Any]

    def build(self, **engine: Any) -> Any:
        """Call the factory with the engine's arguments that it declares."""
        return call(self.component, self.options, engine)


@dataclass(frozen=True)
class CallbackPlan:
    """One [[pretrain.callbacks]] table.

    Attributes:
        takes_data: It measures something on data: that of its own table, or else of the pretraining.
    """

    callback: Choice
    data: Choice | None
    takes_data: bool


@dataclass(frozen=True)
class PretrainPlan:
    """The [pretrain] table. Parts that the method does not take are None."""

    epochs: int
    batch_size: int
    micro_batch_size: int | None
    precision: str
    weights: str | None
    partial_weights: bool
    checkpoint_every_steps: int | None
    checkpoint_every_epochs: int
    on_save_error: str
    data: Choice
    views: Choice
    method: Choice
    backbone: Choice | None
    head: Choice | None
    objective: Choice | None
    optimizer: Choice
    schedules: Mapping[str, Choice]
    callbacks: tuple[CallbackPlan, ...]


@dataclass(frozen=True)
class EvaluatePlan:
    """One [[evaluate]] table."""

    evaluation: Choice
    data: Choice | None
    features: tuple[str, ...]
    baselines: tuple[str, ...]
    central_share: float
    num_seeds: int


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        weights: Without `pretrain`: what is evaluated; None if that is still to be said.
        backbone: What the weights belong to, where they do not say it.
        source: The file it came from.
        derived: What a former run derived from it, to be recomputed and compared; empty in a recipe by hand.
        installed: The plugins it was checked against.
    """

    name: str
    description: str
    requires: tuple[str, ...]
    plugins: tuple[Path, ...]
    seed: int
    weights: str | None
    partial_weights: bool
    backbone: Choice | None
    pretrain: PretrainPlan | None
    evaluate: tuple[EvaluatePlan, ...]
    export: tuple[Choice, ...]
    source: Path
    overrides: tuple[str, ...] = ()
    derived: Mapping[str, Any] = field(default_factory=dict)
    installed: Registry = field(default_factory=lambda: Registry([]), repr=False, compare=False)

    def choices(self) -> Iterator[Choice]:
        """Iterate over every component the recipe names."""
        if self.pretrain is not None:
            plan = self.pretrain
            parts = (
                plan.data,
                plan.views,
                plan.method,
                plan.backbone,
                plan.head,
                plan.objective,
                plan.optimizer,
            )
            yield from (part for part in parts if part is not None)
            yield from plan.schedules.values()
            for watcher in plan.callbacks:
                yield watcher.callback
                if watcher.data is not None:
                    yield watcher.data
        if self.backbone is not None:
            yield self.backbone
        for evaluation in self.evaluate:
            yield evaluation.evaluation
            if evaluation.data is not None:
                yield evaluation.data
        yield from self.export


@dataclass(frozen=True)
class Viewing:
    """As much of a recipe as its views depend on."""

    name: str
    seed: int
    data: Choice
    views: Choice
