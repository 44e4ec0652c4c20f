"""Pretraining from top to bottom: step after step until the end, from the newest checkpoint if there is one.

Enters: a `Pretraining`. Leaves: trained weights, checkpoints, and hook calls from which loggers live. `train` serves
`run`; `pretrain` is the same from Python. Nothing else in sslkit trains a backbone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy
import torch

from sslkit.engine.assemble import Pretraining, assemble
from sslkit.engine.checkpoint import load_checkpoint, load_optimizer_tree, optimizer_tree, save_checkpoint
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Dataset, Normalisation, OptimizerFactory, Progress, Schedule
from sslkit.engine.metrics import MetricRing
from sslkit.engine.step import require_finite
from sslkit.engine.stops import Stopped, Stops
from sslkit.errors import RunError
from sslkit.registry.hookspecs import callback_manager

logger = logging.getLogger("sslkit")


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
    stream = pretraining.batches.stream(state.step, state.total_steps)
    before = time.perf_counter()
    try:
        while state.step < state.total_steps:
            wanted = time.perf_counter()
            raw = next(stream)
            data_wait = time.perf_counter() - wanted
            progress = state.progress
            batch, metrics = stepper.step(raw, progress)
            state.step += 1
            hooks.hook.sslkit_step_end(state=state, batch=batch, metrics=metrics)
            del batch, raw  # their memory is needed for the next ones
            now = time.perf_counter()
            known = {
                "step": state.step,
                "epoch": progress.epoch,
                "learning_rate": stepper.optimizer.param_groups[0]["lr"],
                "images_per_second": state.batch_size / (now - before),
                "data_wait": data_wait,
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
    finally:
        stream.close()  # lets the loader end its workers now, not when the process ends
    pretraining.bad_images.log_summary("pretrain", pretraining.order.num_images, "and were replaced")
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
        raise RunError(
            f"{folder}: the {' and '.join(changed)} on which this run began differ from now; bring back what was "
            "added, removed or changed, or start a new run in another folder"
        )
    stepper = state.pretraining.stepper
    stepper.method.load_state_dict(parts["model"])
    load_optimizer_tree(stepper.optimizer, stepper.method, parts["optimizer"])
    for key, callback in _stateful(state.pretraining.callbacks).items():
        if key in parts["callbacks"]:
            callback.load_state_dict(parts["callbacks"][key])
    state.step = saved["step"]
    if state.step > state.total_steps:
        raise RunError(f"{folder}: {state.step:,} steps are done already, but the recipe wants {state.total_steps:,}")
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
    if checkpoints is not None:
        pretraining.bad_images.keep_in(checkpoints)
    train(pretraining, callback_manager(pretraining.callbacks), checkpoints=checkpoints)
    return pretraining.frozen()
