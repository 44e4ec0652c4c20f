"""A few steps of a recipe by the engine's own stepper, on one process or two, and how far two such differ.

Enters: a recipe's file. Leaves: losses, gradients and weights. Called by the checks of methods and objectives, and by
the ranks of `worlds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.engine.assemble import Pretraining
from sslkit.engine.build import build
from sslkit.engine.interfaces import Progress, Views
from sslkit.recipe.resolve import load_recipe
from sslkit.testing.subject import CPU, Subject
from sslkit.testing.worlds import RankError, begin, started

STEPS: Final = 3

TOLERANCES: Final = {"float64": 1e-4, "float32": 5e-3}
"""How far one process and two may differ, relative to the larger: some components compute in float32 whatever they are
given. What is wrong differs by hundredths at least."""

_NEGLIGIBLE: Final = 1e-2
"""A gradient this small beside that of all parameters is compared with this share of it: it may be rounding alone."""


@dataclass
class Trained:
    """What some steps did.

    Attributes:
        losses: One a step.
        gradients: One a step: that of each parameter, as the optimizer sees it.
        before: The state dictionary at the start.
        after: The same after the steps.
    """

    losses: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    before: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)


class _InFloat64:
    """Views as they are, in double precision."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self.num_views = views.num_views

    def draw(self, keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._views.draw(keys)

    def prepare(self, image: Any, draws: npt.NDArray[Any]) -> tuple[Tensor, ...]:
        return self._views.prepare(image, draws)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        with default_dtype("float32"):
            return [view.double() for view in self._views.apply(groups, draws)]


@contextmanager
def default_dtype(name: str) -> Iterator[None]:
    """Let new tensors be of this type inside the block."""
    former = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(former)


def pretraining_of(path: Path) -> Pretraining:
    """Return a recipe's pretraining, built anew."""
    pretraining = build(load_recipe(path), device=CPU, workers=0).pretraining
    assert pretraining is not None
    return pretraining


def trained(path: Path, dtype: str = "float32", *, norms_frozen: bool = False, steps: int = STEPS) -> Trained:
    """Do some steps of a recipe.

    Args:
        path: Its file.
        dtype: Of weights and views.
        norms_frozen: Let BatchNorm normalise by what it starts with, so that no image depends on its batch.
        steps: How many.
    """
    found = Trained()
    with default_dtype(dtype):
        pretraining = pretraining_of(path)
        stepper, method = pretraining.stepper, pretraining.method
        if dtype == "float64":
            stepper.views = _InFloat64(stepper.views)
        method.train()
        if norms_frozen:
            freeze_norms(method)
        found.before = state_of(method)
        parameters = dict(method.named_parameters())

        def note(*_: Any) -> None:
            found.gradients.append({name: p.grad.clone() for name, p in parameters.items() if p.grad is not None})

        stepper.optimizer.register_step_pre_hook(note)
        for step, raw in enumerate(pretraining.batches.stream(0, steps)):
            _, metrics = stepper.step(raw, Progress(step, steps + 1, pretraining.order.steps_per_epoch))
            found.losses.append(float(metrics["loss"]))
        found.after = state_of(method)
    return found


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a state dictionary."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def freeze_norms(module: nn.Module) -> None:
    """Let every BatchNorm normalise by the statistics it has, or by none."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            if part.running_mean is None:
                part.running_mean, part.running_var = torch.zeros(part.num_features), torch.ones(part.num_features)
            part.eval()


def one_and_two(subject: Subject) -> tuple[str, Trained, list[Trained]]:
    """Return the precision that was possible, the steps of one process, and of each of two."""
    return subject.once("one and two", lambda: _one_and_two(subject))


def _one_and_two(subject: Subject) -> tuple[str, Trained, list[Trained]]:
    path = subject.recipe_file()
    started()
    dtype = "float64"
    try:
        one = trained(path, dtype)
    except Exception:  # a part that makes float32 of its own
        dtype = "float32"
        one = trained(path, dtype)
    answers = begin(trained, path, dtype)
    try:
        return dtype, one, answers()
    except RankError as error:
        subject.fail("train on two processes as on one", str(error), "collectives must be the same on every rank")


def require_two_equal_one(subject: Subject) -> None:
    """Hold three steps of two processes against those of one: losses, gradients, weights and buffers.

    Raises:
        ConformanceError: They differ.
    """
    dtype, one, both = one_and_two(subject)
    tolerance = TOLERANCES[dtype]
    for rank, two in enumerate(both):
        for found, size in first_difference(one, two, tolerance):
            subject.fail(
                "do the same on two processes as on one",
                f"{found} differs by {percent(size)} on rank {rank}",
                "whatever looks at the batch as a whole has to see the rows of all ranks: write an objective as for "
                "one process, which is given them, or gather with sslkit.gather_rows; draw with batch.uniforms only",
            )


def require_same_state_on_all_ranks(subject: Subject) -> None:
    """Compare weights and buffers of both ranks after three steps.

    Raises:
        ConformanceError: They differ: a checkpoint keeps those of the first rank only.
    """
    _, _, (first, second) = one_and_two(subject)
    for name, tensor in first.after.items():
        if not same(tensor, second.after[name]):
            subject.fail(
                "have the same state on every rank",
                f"after {STEPS} steps {name} differs between rank 0 and rank 1",
                "change buffers from gathered rows (sslkit.gather_rows) and draws that are the same on all ranks: a "
                "checkpoint keeps what the first rank has",
            )


def first_difference(one: Trained, two: Trained, tolerance: float) -> Iterator[tuple[str, float]]:
    """Yield what differs by more than a tolerance, in the order of computation, with the relative difference."""
    for step, (loss, other) in enumerate(zip(one.losses, two.losses, strict=True), 1):
        if not (size := abs(loss - other) / max(abs(loss), abs(other), 1e-6)) < tolerance:
            yield f"the loss of step {step} ({loss:.6g} and {other:.6g})", size
        gradients, others = one.gradients[step - 1], two.gradients[step - 1]
        whole = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))
        sizes = {name: relative(others.get(name), gradients[name], _NEGLIGIBLE * whole) for name in gradients}
        worst = max(sizes, key=lambda name: sizes[name])
        if not sizes[worst] < tolerance:
            yield f"the gradient of {worst} in step {step}", sizes[worst]
    for name, tensor in one.after.items():
        if not (size := relative(two.after.get(name), tensor, 1e-3)) < tolerance:
            yield f"{name} after {len(one.losses)} steps", size


def relative(found: Tensor | None, expected: Tensor, least: float) -> float:
    """Return by how much a tensor differs from another, relative to its length or to `least`; inf if it cannot be."""
    if found is None or found.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return 0.0 if torch.equal(found, expected) else math.inf
    if same(found, expected):  # infinite ones, too
        return 0.0
    found, expected = found.detach().double(), expected.detach().double()
    size = float((found - expected).norm()) / max(float(expected.norm()), least, 1e-12)
    return size if math.isfinite(size) else math.inf


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are the same bit for bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def percent(size: float) -> str:
    """Return a relative difference for a reader."""
    return "more than can be said" if math.isinf(size) else f"{100 * size:.2g} %"
