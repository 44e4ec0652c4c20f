"""From parts to a pretraining that fits together, checked before anything is trained.

Enters: method, data, views, optimizer and their settings. Leaves: a `Pretraining`. Called by `build` for a recipe and
by `pretrain` from Python.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import Any

import torch
from torch import nn

from sslkit.engine.bad_images import BadImages
from sslkit.engine.batch_norm import across_ranks
from sslkit.engine.batches import Batches, Source, bytes_per_image, default_workers, sample_batch
from sslkit.engine.contract import require_method
from sslkit.engine.distributed import world_size
from sslkit.engine.fit import require_fit, require_shares, require_views
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Dataset, Normalisation, OptimizerFactory, Schedule
from sslkit.engine.order import Order
from sslkit.engine.precision import PRECISIONS, warn_if_slow
from sslkit.engine.prepared_views import complete_views
from sslkit.engine.step import BaseRates, Stepper
from sslkit.errors import PluginError, RunError
from sslkit.text import did_you_mean

# Learning-rate scaling rules: batch size -> factor. Source: Chen et al. 2020, section 2.3 (linear) and B.1 (sqrt).
SCALINGS: Mapping[str, Callable[[int], float]] = {
    "none": lambda batch_size: 1.0,
    "linear": lambda batch_size: batch_size / 256,
    "sqrt": lambda batch_size: batch_size**0.5,
}


@dataclass
class Pretraining:
    """Everything a pretraining needs, built and checked; nothing has been written or trained.

    Attributes:
        total_steps: Steps in all.
        view_shape: (C, h, w) of the first view.
        learning_rate: After scaling; what the schedule multiplies.
        bad_images: Those that this pretraining and the evaluations of its weights could not read.
    """

    stepper: Stepper
    source: Source
    order: Order
    batches: Batches
    total_steps: int
    learning_rate: float
    normalisation: Normalisation | None
    view_shape: tuple[int, int, int]
    workers: int
    checkpoint_every_steps: int | None
    checkpoint_every_epochs: int
    on_save_error: str
    callbacks: list[Any]
    bad_images: BadImages

    @property
    def method(self) -> Any:
        """The module that is trained."""
        return self.stepper.method

    def frozen(self) -> FrozenModel:
        """Return the weights as they are now, ready for evaluation; they are frozen by it."""
        return self.freeze(*self.kept())

    def kept(self) -> tuple[nn.Module, nn.Module | None]:
        """Return the backbone, and the head if there is one."""
        head = getattr(self.method, "head", None)
        return self.method.backbone, head if isinstance(head, nn.Module) else None

    def freeze(self, backbone: nn.Module, head: nn.Module | None = None) -> FrozenModel:
        """Return a backbone, such as the one before training, to be measured as this one is."""
        return FrozenModel(
            backbone,
            head,
            normalisation=self.normalisation,
            input_size=self.view_shape[1],
            device=self.stepper.device,
            seed=self.stepper.seed,
            workers=self.workers,
            bad_images=self.bad_images,
        )


def assemble(
    method: Any,
    data: Data | Dataset,
    views: Any,
    optimizer: OptimizerFactory,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    learning_rate: float,
    learning_rate_scaling: str = "none",
    weight_decay: float = 0.0,
    schedules: Mapping[str, Schedule] | None = None,
    normalisation: Normalisation | None = None,
    precision: str = "float32",
    micro_batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_epochs: int = 1,
    on_save_error: str = "raise",
    callbacks: Sequence[Any] = (),
) -> Pretraining:
    """Put the parts of a pretraining together and check that they fit; see `pretrain` for the arguments.

    Raises:
        RunError: Too few images, an image size the backbone does not take, a batch that cannot be divided, or an
            unknown scaling.
    """
    if (epochs is None) == (steps is None):
        raise RunError("say how long to train, either epochs or steps")
    for name, number in (
        ("epochs", epochs), ("steps", steps), ("batch_size", batch_size), ("micro_batch_size", micro_batch_size),
        ("checkpoint_every_steps", checkpoint_every_steps), ("checkpoint_every_epochs", checkpoint_every_epochs),
    ):  # fmt: skip
        _require_whole(name, number)
    _require_known("precision", precision, PRECISIONS)
    _require_known("learning_rate_scaling", learning_rate_scaling, SCALINGS)
    for name in schedules or {}:
        _require_known("schedules", name, ("learning_rate", "weight_decay"))
    require_method(method)
    require_shares(method, batch_size, micro_batch_size)
    at_once = micro_batch_size or batch_size
    device = torch.device(device)
    warn_if_slow(precision, device)
    complete = complete_views(views)
    source = Source.of(data, complete)
    order = Order(seed, len(source.dataset), batch_size)
    raw = sample_batch(source, complete, seed, 0, (0, 1 % len(source.dataset)))
    shapes: list[Any] = [tuple(view.shape[1:]) for view in complete.apply(raw.groups, raw.draws)]
    require_views(method, len(shapes))
    require_fit(method.backbone, shapes, normalisation)
    method = method.to(device, memory_format=torch.channels_last)  # faster convolutions on CPUs and GPUs alike
    if world_size() > 1:
        objective = getattr(method, "objective", None)
        sees_all = isinstance(objective, nn.Module) and not getattr(objective, "rank_local", False)
        across_ranks(method, but=objective if sees_all else None)  # it is given the rows of all ranks
    peak = learning_rate * SCALINGS[learning_rate_scaling](batch_size)
    groups = parameter_groups(method, peak, weight_decay)
    if not groups:
        raise RunError(f"{type(method).__name__} has nothing to train: no parameter of it has requires_grad = True")
    stepper = Stepper(
        method=method,
        views=complete,
        optimizer=optimizer([dict(group) for group in groups]),
        base_rates=[BaseRates(group["lr"], group["weight_decay"], group["constant"]) for group in groups],
        schedules=dict(schedules or {}),
        normalise=None if normalisation is None else normalisation.on(device),
        precision=precision,
        device=device,
        seed=seed,
        micro_batch_size=None if at_once == batch_size else at_once // world_size(),
    )
    if workers is None:
        workers = 0 if source.table is not None else default_workers(device)
    bad_images = BadImages()
    batches = Batches(
        source,
        complete,
        order,
        device=device,
        workers=workers,
        bad_images=bad_images,
        image_bytes=bytes_per_image(raw),
    )
    return Pretraining(
        stepper=stepper,
        source=source,
        order=order,
        batches=batches,
        total_steps=steps if steps is not None else (epochs or 0) * order.steps_per_epoch,
        learning_rate=peak,
        normalisation=normalisation,
        view_shape=shapes[0],
        workers=workers,
        checkpoint_every_steps=checkpoint_every_steps,
        checkpoint_every_epochs=checkpoint_every_epochs,
        on_save_error=on_save_error,
        callbacks=list(callbacks),
        bad_images=bad_images,
    )


def _require_whole(name: str, number: int | None) -> None:
    """Refuse what the reader of recipes refuses, in a call from Python: None, or a whole number from 1."""
    if number is not None and (not isinstance(number, Integral) or number < 1):
        raise RunError(f"{name} = {number!r}: should be a whole number from 1")


def _require_known(name: str, word: str, known: Collection[str]) -> None:
    if word not in known:
        raise RunError(f"{name} = {word!r}: should be one of {', '.join(known)}{did_you_mean(word, known)}")


def parameter_groups(method: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups: with weight decay and layer-wise adaptation, and without.

    Without are scales, shifts and biases (at most one dimension), and what a module's `no_weight_decay()` names: any
    module's, for the backbone that trains need not be the one that is kept. Source: Chen et al. 2020's code excludes
    batch normalisation and biases. What a module's `constant_learning_rate()` names is in groups of its own, with
    `constant`: no schedule changes their learning rate.

    Raises:
        PluginError: `constant_learning_rate()` names what is no parameter; timm's `no_weight_decay()` often does.
    """
    spared = _named_by(method, "no_weight_decay")
    constant = _named_by(method, "constant_learning_rate", all_exist=True)
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {case: [] for case in product((False, True), (False, True))}
    for parameter in method.parameters():
        if parameter.requires_grad:
            is_plain = parameter.ndim <= 1 or id(parameter) in spared
            members[id(parameter) in constant, is_plain].append(parameter)
    return [
        {
            "name": f"{'norms and biases' if is_plain else 'weights'}{' at a constant rate' if is_constant else ''}",
            "params": params,
            "lr": learning_rate,
            "weight_decay": 0.0 if is_plain else weight_decay,
            "adapt": not is_plain,
            "constant": is_constant,
        }
        for (is_constant, is_plain), params in members.items()
        if params
    ]


def _named_by(method: nn.Module, function: str, *, all_exist: bool = False) -> set[int]:
    """Return the identities of the parameters that modules name by a function of their own."""
    found = set()
    for module in method.modules():
        names: set[str] = set(getattr(module, function, set)())
        parameters = dict(module.named_parameters()) if names else {}
        found |= {id(parameters[name]) for name in names & parameters.keys()}
        for unknown in sorted(names - parameters.keys()) if all_exist else ():
            raise PluginError(
                f"{type(module).__name__}.{function}() names {unknown!r}, which is no parameter of it"
                f"{did_you_mean(unknown, parameters)}"
            )
    return found
