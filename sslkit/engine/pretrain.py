"""Pretraining from top to bottom: assemble the parts, then step after step until the end.

Enters: components. Leaves: trained weights, checkpoints, and hook calls from which loggers live. `assemble` and `train`
serve `run`; `pretrain` is the same from Python. Nothing else in sslkit trains a backbone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy
import torch
from torch import nn

from sslkit.engine.batches import Batches, Source, complete_views, default_workers, sample_views
from sslkit.engine.checkpoint import load_checkpoint, load_optimizer_tree, optimizer_tree, save_checkpoint
from sslkit.engine.features import FrozenModel
from sslkit.engine.fit import require_fit
from sslkit.engine.interfaces import Data, Dataset, Normalisation, OptimizerFactory, Progress, Schedule
from sslkit.engine.metrics import MetricRing
from sslkit.engine.order import Order
from sslkit.engine.precision import warn_if_slow
from sslkit.engine.step import Stepper, require_finite
from sslkit.engine.stops import Stopped, Stops
from sslkit.errors import RunError
from sslkit.registry.hookspecs import callback_manager

logger = logging.getLogger("sslkit")

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
        view_shape: (C, h, w) of the first view.
        learning_rate: After scaling; what the schedule multiplies.
    """

    stepper: Stepper
    source: Source
    order: Order
    epochs: int
    learning_rate: float
    normalisation: Normalisation | None
    view_shape: tuple[int, int, int]
    workers: int
    checkpoint_every_steps: int | None
    checkpoint_every_epochs: int
    callbacks: list[Any] = field(default_factory=list)

    @property
    def method(self) -> Any:
        """The module that is trained."""
        return self.stepper.method

    def frozen(self) -> FrozenModel:
        """Return the weights as they are now, ready for evaluation; they are frozen by it."""
        head = getattr(self.method, "head", None)
        return self.freeze(self.method.backbone, head if isinstance(head, nn.Module) else None)

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
        )


@dataclass
class PretrainState:
    """A running pretraining, as callbacks see it.

    Attributes:
        step: Steps done.
    """

    pretraining: Pretraining
    step: int = 0

    @property
    def method(self) -> Any:
        """The module that is trained."""
        return self.pretraining.method

    @property
    def epochs(self) -> int:
        """Passes over the data in all."""
        return self.pretraining.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass."""
        return self.pretraining.order.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps in all."""
        return self.epochs * self.steps_per_epoch

    @property
    def batch_size(self) -> int:
        """Images per step."""
        return self.pretraining.order.batch_size

    @property
    def progress(self) -> Progress:
        """What schedules are functions of."""
        return Progress(self.step, self.total_steps, self.steps_per_epoch)


def assemble(
    method: Any,
    data: Data | Dataset,
    views: Any,
    optimizer: OptimizerFactory,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    learning_rate_scaling: str = "none",
    weight_decay: float = 0.0,
    schedules: Mapping[str, Schedule] | None = None,
    normalisation: Normalisation | None = None,
    precision: str = "float32",
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_epochs: int = 1,
    callbacks: Sequence[Any] = (),
) -> Pretraining:
    """Put the parts of a pretraining together and check that they fit; see `pretrain` for the arguments.

    Raises:
        RunError: Too few images, an image size the backbone does not take, or an unknown scaling.
    """
    if learning_rate_scaling not in SCALINGS:
        raise RunError(f"learning_rate_scaling = {learning_rate_scaling!r}: should be one of {', '.join(SCALINGS)}")
    device = torch.device(device)
    warn_if_slow(precision, device)
    complete = complete_views(views)
    source = Source.of(data, complete)
    order = Order(seed, len(source.dataset), batch_size)
    shapes: list[Any] = [
        tuple(view.shape[1:]) for view in sample_views(source, complete, seed, (0, 1 % len(source.dataset)))
    ]
    require_fit(method.backbone, shapes, normalisation)
    method = method.to(device, memory_format=torch.channels_last)  # faster convolutions on CPUs and GPUs alike
    peak = learning_rate * SCALINGS[learning_rate_scaling](batch_size)
    groups = parameter_groups(method, peak, weight_decay)
    stepper = Stepper(
        method=method,
        views=complete,
        optimizer=optimizer([dict(group) for group in groups]),
        base_rates=[{"learning_rate": group["lr"], "weight_decay": group["weight_decay"]} for group in groups],
        schedules=dict(schedules or {}),
        normalise=None if normalisation is None else normalisation.on(device),
        precision=precision,
        device=device,
        seed=seed,
    )
    if workers is None:
        workers = 0 if source.table is not None else default_workers(device)
    return Pretraining(
        stepper=stepper,
        source=source,
        order=order,
        epochs=epochs,
        learning_rate=peak,
        normalisation=normalisation,
        view_shape=shapes[0],
        workers=workers,
        checkpoint_every_steps=checkpoint_every_steps,
        checkpoint_every_epochs=checkpoint_every_epochs,
        callbacks=list(callbacks),
    )


def parameter_groups(method: nn.Module, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return the optimizer's two groups: with weight decay and layer-wise adaptation, and without.

    Without are scales, shifts and biases (at most one dimension), and what the backbone's `no_weight_decay()` names.
    Source: Chen et al. 2020's code excludes batch normalisation and biases.
    """
    backbone: nn.Module = method.backbone  # type: ignore[assignment]
    exempt: set[str] = getattr(backbone, "no_weight_decay", set)()
    spared = {id(parameter) for name, parameter in backbone.named_parameters() if name in exempt}
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    plain = [p for p in parameters if p.ndim <= 1 or id(p) in spared]
    plain_ids = {id(p) for p in plain}
    decayed = [p for p in parameters if id(p) not in plain_ids]
    groups = [
        {"name": "weights", "params": decayed, "lr": learning_rate, "weight_decay": weight_decay, "adapt": True},
        {"name": "norms and biases", "params": plain, "lr": learning_rate, "weight_decay": 0.0, "adapt": False},
    ]
    return [group for group in groups if group["params"]]


def train(
    pretraining: Pretraining,
    hooks: pluggy.PluginManager,
    *,
    checkpoints: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    stops: Stops | None = None,
) -> PretrainState:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        pretraining: From `assemble`.
        hooks: Manager of the callbacks.
        checkpoints: Folder of checkpoints; None keeps none.
        identity: What a checkpoint must agree on to be continued: recipe and data.
        stops: Asked after every step.

    Raises:
        Stopped: A signal asked for it; a checkpoint was saved.
        NonFiniteError: The loss or a gradient is not finite; no checkpoint holds it.
    """
    state = PretrainState(pretraining)
    if checkpoints is not None:
        _restore(state, checkpoints, identity)
    stepper = pretraining.stepper
    batches = Batches(
        pretraining.source,
        stepper.views,
        pretraining.order,
        device=stepper.device,
        workers=pretraining.workers,
    )
    ring = MetricRing(stepper.device)
    last_record: dict[str, float] = {}

    def deliver(*, wait: bool) -> None:
        for record in ring.drain(wait=wait):
            require_finite(record["loss"], record["gradient_norm"], int(record["step"]))
            last_record.update(record)
            hooks.hook.sslkit_metrics(state=state, record=record)

    def save() -> None:
        if checkpoints is not None:
            deliver(wait=True)
            path = _save(state, checkpoints, identity)
            hooks.hook.sslkit_checkpoint_saved(state=state, path=path)

    hooks.hook.sslkit_pretrain_start(state=state)
    stepper.method.train()
    stream = iter(batches.stream(state.step, state.total_steps))
    before = time.perf_counter()
    while state.step < state.total_steps:
        raw = next(stream)
        loaded = time.perf_counter()
        progress = state.progress
        batch, metrics = stepper.step(raw, progress)
        state.step += 1
        hooks.hook.sslkit_step_end(state=state, batch=batch, metrics=metrics)
        now = time.perf_counter()
        known = {
            "step": state.step,
            "epoch": progress.epoch,
            "learning_rate": stepper.optimizer.param_groups[0]["lr"],
            "images_per_second": state.batch_size / (now - before),
            "data_wait": loaded - before,
        }
        before = now
        ring.push(known, metrics)
        deliver(wait=False)
        ends_epoch = state.step % state.steps_per_epoch == 0
        if ends_epoch:
            deliver(wait=True)
            hooks.hook.sslkit_epoch_end(state=state, metrics=dict(last_record))
        asked = stops.requested if stops is not None else None
        if asked or _is_due(state, ends_epoch=ends_epoch):
            save()
            before = time.perf_counter()
        if asked:
            raise Stopped(f"stopped by {asked} after step {state.step:,} of {state.total_steps:,}")
    return state


def _is_due(state: PretrainState, *, ends_epoch: bool) -> bool:
    pretraining = state.pretraining
    every = pretraining.checkpoint_every_steps
    return (
        state.step == state.total_steps
        or (every is not None and state.step % every == 0)
        or (ends_epoch and (state.step // state.steps_per_epoch) % pretraining.checkpoint_every_epochs == 0)
    )


def _save(state: PretrainState, folder: Path, identity: Mapping[str, Any] | None) -> Path:
    stepper = state.pretraining.stepper
    parts = {
        "model": dict(stepper.method.state_dict()),
        "optimizer": optimizer_tree(stepper.optimizer, stepper.method),
        "callbacks": {key: callback.state_dict() for key, callback in _stateful(state.pretraining.callbacks).items()},
    }
    return save_checkpoint(folder, state.step, parts, {"identity": dict(identity or {})})


def _restore(state: PretrainState, folder: Path, identity: Mapping[str, Any] | None) -> None:
    loaded = load_checkpoint(folder)
    if loaded is None:
        return
    parts, saved = loaded
    if identity is not None and saved["identity"] != identity:
        changed = sorted(key for key in identity if saved["identity"].get(key) != identity[key])
        raise RunError(f"{folder}: the checkpoints belong to another {' and '.join(changed)}; start a new run instead")
    stepper = state.pretraining.stepper
    stepper.method.load_state_dict(parts["model"])
    load_optimizer_tree(stepper.optimizer, stepper.method, parts["optimizer"])
    for key, callback in _stateful(state.pretraining.callbacks).items():
        if key in parts["callbacks"]:
            callback.load_state_dict(parts["callbacks"][key])
    state.step = saved["step"]
    logger.info("going on after step %s", f"{state.step:,}")


def _stateful(callbacks: Iterable[Any]) -> dict[str, Any]:
    return {
        f"{number}-{type(callback).__name__}": callback
        for number, callback in enumerate(callbacks)
        if hasattr(callback, "state_dict")
    }


def pretrain(
    method: Any,
    data: Data | Dataset,
    views: Any,
    optimizer: OptimizerFactory,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    learning_rate_scaling: str = "none",
    weight_decay: float = 0.0,
    schedules: Mapping[str, Schedule] | None = None,
    normalisation: Normalisation | None = None,
    precision: str = "float32",
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    callbacks: Sequence[Any] = (),
    checkpoints: Path | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_epochs: int = 1,
) -> FrozenModel:
    """Pretrain a method on data; the same engine as `sslkit run`, without a recipe or a run folder.

    Args:
        method: Module with `embed` and `loss`, or `forward(batch)`; such as `JointEmbedding`.
        data: Data component, or any dataset of (image, label).
        views: View generator.
        optimizer: Called with two parameter groups; such as `LARS`, or `functools.partial(sgd, momentum=0.95)`.
        epochs: Passes over the data.
        batch_size: Images per step; what does not fill a batch is left out of the epoch.
        learning_rate: Before scaling and schedule.
        learning_rate_scaling: "none"; "linear": times batch_size / 256; "sqrt": times sqrt(batch_size).
        weight_decay: On weights; never on norms and biases.
        schedules: `learning_rate` and `weight_decay`, such as `{"learning_rate": cosine(warmup_epochs=10)}`.
        normalisation: Applied to every view and kept with the backbone.
        precision: "float32" or "bf16".
        seed: All randomness follows from it, but for the weights of the modules handed in.
        device: Where to train.
        workers: Loader processes; None chooses.
        callbacks: Objects with `@hookimpl` methods.
        checkpoints: Folder to save to and to continue from.
        checkpoint_every_steps: Save after this many steps.
        checkpoint_every_epochs: Save after this many epochs.

    Returns:
        The backbone, with its head, frozen.
    """
    pretraining = assemble(
        method,
        data,
        views,
        optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        learning_rate_scaling=learning_rate_scaling,
        weight_decay=weight_decay,
        schedules=schedules,
        normalisation=normalisation,
        precision=precision,
        seed=seed,
        device=device,
        workers=workers,
        callbacks=callbacks,
        checkpoint_every_steps=checkpoint_every_steps,
        checkpoint_every_epochs=checkpoint_every_epochs,
    )
    train(pretraining, callback_manager(pretraining.callbacks), checkpoints=checkpoints)
    return pretraining.frozen()
