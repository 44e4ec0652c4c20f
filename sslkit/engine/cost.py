"""What a recipe will cost, said before it runs: images, floating-point operations, and time on this machine.

Enters: checked recipes; neither their data nor their weights need be here. Leaves: a `Cost` for each. Called by
`sslkit sweep --dry-run`, with one `Estimator` for all runs of a study. What is not counted is small beside it:
callbacks, checkpoints, and the classifiers that evaluations fit to features that lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from sslkit.engine.build import build_method, load_frozen, method_without_storage
from sslkit.engine.choices import built, data_key, naming_the_size
from sslkit.engine.fit import require_fit
from sslkit.engine.known_data import Known, KnownData
from sslkit.engine.operations import (
    Network,
    Operations,
    Shape,
    num_parameters,
    of_backbone,
    of_step,
    shape_for,
    shaping,
)
from sslkit.engine.prepared_views import complete_views
from sslkit.engine.speed import Bench
from sslkit.engine.work import Place, Work, evaluation_work, pretraining_work
from sslkit.errors import DataError, RunError
from sslkit.recipe.plan import Choice, PretrainPlan, Recipe
from sslkit.text import one_line, span

FAST: Final = 1e14
"""Operations per second of the other device that a cost is said for: 100 TFLOP/s, sustained."""

_CLASSES: Final = 2  # of data that are not here
_FEW: Final = 2  # images to count with, where it takes numbers


@dataclass(frozen=True)
class Part:
    """One stage of a run: its pretraining, or one [[evaluate]] table.

    Attributes:
        title: "pretraining", or which evaluation on which data.
        trained: Images that go forward and backward; in pretraining each with all its views.
        embedded: Images that only go forward.
        operations: Floating-point operations; None if unknown.
        seconds: On this machine; None if unknown or not measured.
        measured: How the seconds were found.
        unknown: Why it cannot be said; empty if it can.
    """

    title: str
    trained: int = 0
    embedded: int = 0
    operations: float | None = None
    seconds: float | None = None
    measured: str = ""
    unknown: str = ""


@dataclass(frozen=True)
class Cost:
    """What a run costs, or all of a study.

    Attributes:
        pretraining: None if there is none.
        evaluations: One part for each [[evaluate]] table.
        machine: Where the seconds are meant.
        beside: Seconds that it takes beside its stages: to start, to write its page.
    """

    pretraining: Part | None
    evaluations: tuple[Part, ...]
    machine: str
    beside: float = 0.0

    @property
    def parts(self) -> tuple[Part, ...]:
        """All stages, in order."""
        return self.evaluations if self.pretraining is None else (self.pretraining, *self.evaluations)

    @property
    def operations(self) -> float | None:
        """Floating-point operations of the parts that are known; None if none is."""
        return _sum(part.operations for part in self.parts)

    @property
    def seconds(self) -> float | None:
        """Seconds on this machine of the parts that are known, and beside them; None if none is."""
        known = _sum(part.seconds for part in self.parts)
        return None if known is None else known + self.beside

    @property
    def measured(self) -> tuple[str, ...]:
        """How the seconds were found."""
        return tuple(dict.fromkeys(part.measured for part in self.parts if part.measured))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What is not counted, and why."""
        reasons: dict[str, dict[str, None]] = {}
        for part in self.parts:
            if part.unknown:
                reasons.setdefault(part.unknown, {})[part.title] = None
        return tuple(f"{', '.join(titles)}: {reason}" for reason, titles in reasons.items())

    def describe(self) -> str:
        """Return it in words, on one line."""
        words = []
        if self.operations is not None:
            words.append(f"{'at least ' if self.unknown else ''}{self.operations:.2g} floating-point operations")
        if self.seconds is not None:
            longest = max(self.parts, key=lambda part: part.seconds or 0.0)
            how = f"{'for the longest part ' if len(self.measured) > 1 else ''}{longest.measured}"
            words.append(f"{span(self.seconds)} on this machine ({self.machine}; {how})")
        if self.operations is not None and self.operations >= 60 * FAST:
            words.append(f"{span(self.operations / FAST)} on a device that sustains {FAST / 1e12:.0f} TFLOP/s")
        if self.unknown:
            words.append(f"not counted: {'; '.join(map(one_line, self.unknown))}")
        return "; ".join(words) or "nothing to do"


def total(costs: Iterable[Cost]) -> Cost:
    """Return what several runs cost together."""
    costs = list(costs)
    parts = [part for cost in costs for part in cost.parts]
    return Cost(None, tuple(parts), costs[0].machine if costs else "", sum(cost.beside for cost in costs))


class _Step(NamedTuple):
    """What one image takes in a step of pretraining."""

    operations: Operations
    num_parameters: int
    network: Network


class Estimator:
    """Says what recipes cost; one for a whole study, which has much in common.

    Args:
        data_root: What `folder` keys are below.
        device: Where the seconds are meant.
        measure: Whether to try steps; without it there are no seconds.
    """

    def __init__(self, *, data_root: Path | None, device: torch.device, measure: bool = True) -> None:
        self._data = KnownData(data_root)
        self._bench = Bench(device) if measure else None
        self._steps: dict[str, _Step] = {}
        self._networks: dict[str, Network] = {}
        self._frozen: dict[str, Network] = {}
        threads = torch.get_num_threads()
        shown = f", {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else ""
        self._machine = f"{device}{shown}"

    def lacking(self, recipe: Recipe, *, skip_absent: bool = False) -> dict[str, DataError]:
        """Return which data a run would stop for at its start: see `KnownData.lacking`."""
        return self._data.lacking(recipe, skip_absent=skip_absent)

    def estimate(self, recipe: Recipe) -> Cost:
        """Return what a recipe costs.

        Raises:
            SslkitError: A component cannot be built, or there are fewer images than a batch needs.
        """
        pretraining, network, reason = None, None, ""
        if recipe.pretrain is not None:
            pretraining, network = self._pretraining(recipe.pretrain, recipe.seed)
        elif recipe.evaluate:
            weights = repr((recipe.weights, recipe.backbone))
            try:
                if weights not in self._frozen:
                    self._frozen[weights] = self._weights(recipe)
                network = self._frozen[weights]
            except RunError as error:
                reason = one_line(error)
        if pretraining is not None and network is None:
            reason = pretraining.unknown
        return Cost(pretraining, tuple(self._evaluations(recipe, network, reason)), self._machine)

    def _pretraining(self, plan: PretrainPlan, seed: int) -> tuple[Part, Network | None]:
        data = self._data.of(plan.data, seed)
        try:
            step = self._step(plan, seed, data)
        except (NotImplementedError, RuntimeError) as error:
            return Part("pretraining", unknown=f"a step cannot be counted: {one_line(error)}"), None
        if "pretrain" not in data.sizes:
            return Part("pretraining", unknown=data.reason or "the data have no pretrain split"), step.network
        work = pretraining_work(plan, seed, data.sizes["pretrain"])
        operations = work.trained * step.operations.trained + work.embedded * step.operations.embedded
        part = Part("pretraining", work.trained, work.embedded, operations)
        if self._bench is not None:
            speed = self._bench.pretraining(plan, seed, data, step.operations, step.num_parameters)
            seconds = speed.seconds * (work.trained + work.embedded / step.operations.ratio)
            part = replace(part, seconds=seconds, measured=speed.found)
        return part, step.network

    def _evaluations(self, recipe: Recipe, network: Network | None, reason: str) -> Iterator[Part]:
        passed: set[Place] = set()
        for plan in recipe.evaluate:
            choice = plan.data or recipe.pretrain.data  # type: ignore[union-attr]
            data = self._data.of(choice, recipe.seed)
            title = f"{plan.evaluation.component.name} on {one_line(data.name)}"
            lacking = [split for split in ("train", "test") if split not in data.sizes]
            if network is None or lacking:
                why = reason or data.reason or f"the data have no {lacking[0]} split"
                yield Part(title, unknown=why)
                continue
            evaluation = built(plan.evaluation, recipe.seed)
            try:
                work = evaluation_work(recipe, plan, evaluation, data_key(choice), data.sizes, passed)
            except KeyError as error:
                yield Part(title, unknown=f"the data have no {error.args[0]} split")
                continue
            yield self._evaluation(title, work, network, data)

    def _evaluation(self, title: str, work: Work, network: Network, data: Known) -> Part:
        each = network.operations
        part = Part(title, work.trained, work.embedded, work.trained * each.trained + work.embedded * each.embedded)
        if self._bench is None:
            return part
        forward, opening = self._bench.embedding(network), self._bench.opening(data, network.shape[1])
        both = self._bench.together(forward.seconds * each.ratio, opening)
        seconds = work.trained * both + work.embedded * self._bench.together(forward.seconds, opening)
        return replace(part, seconds=seconds, measured=forward.found)

    def _step(self, plan: PretrainPlan, seed: int, data: Known) -> _Step:
        """Count what an image takes: the same for all recipes that differ in views' strength, data or schedules."""
        views = complete_views(built(plan.views, seed))
        shapes = data.shapes(views, seed)
        parts = (plan.method, plan.backbone, plan.head)
        key = repr([*map(_named, parts), shaping(plan.objective), plan.batch_size, shapes, data.num_classes])
        if key not in self._steps:
            num_samples, num_classes = data.sizes.get("pretrain", 1), data.num_classes or _CLASSES
            engine: dict[str, Any] = {"num_samples": num_samples, "num_classes": num_classes}
            method = method_without_storage(plan, seed, **engine)
            name = repr([_named(plan.method), _named(plan.backbone)])
            with naming_the_size(plan.views):
                require_fit(method.backbone, shapes)
            network = self._network(
                name, method.backbone, shapes[0], lambda: build_method(plan, seed, **engine).backbone
            )
            try:
                operations = of_step(method, shapes, plan.batch_size)
            except (NotImplementedError, RuntimeError):  # something in it does not work without numbers
                operations = of_step(build_method(plan, seed, **engine), shapes, _FEW)
            self._steps[key] = _Step(operations, num_parameters(method), network)
        return self._steps[key]

    def _weights(self, recipe: Recipe) -> Network:
        """Look at the backbone of a recipe that only evaluates; its weights are loaded only if nothing else says it.

        Raises:
            RunError: Neither says what the network is.
        """
        table = recipe.backbone
        if table is not None and table.keys["input_size"] is not None:
            with torch.device("meta"):
                backbone: nn.Module = built(table, recipe.seed)
            return self._network(
                repr(_named(table)),
                backbone,
                shape_for(backbone, table.keys["input_size"]),
                partial(built, table, recipe.seed),
            )
        try:
            model = load_frozen(recipe)
        except RunError as error:
            raise RunError(
                f"unknown: {error}; for an estimate, a [backbone] table with its input_size is enough"
            ) from None
        return self._network(
            repr(recipe.weights), model.backbone, shape_for(model.backbone, model.input_size), lambda: model.backbone
        )

    def _network(self, name: str, backbone: nn.Module, shape: Shape, make: Callable[[], nn.Module]) -> Network:
        key = f"{name} {shape}"
        if key not in self._networks:
            self._networks[key] = Network(key, make, shape, of_backbone(backbone, shape), num_parameters(backbone))
        return self._networks[key]


def _named(choice: Choice | None) -> tuple[str, object] | None:
    return None if choice is None else (choice.component.name, choice.options)


def _sum(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
