"""Pretraining from top to bottom: step after step until the end, from the newest checkpoint if there is one.

Enters: a `Pretraining`. Leaves: trained weights, checkpoints, and hook calls from which loggers live. `train` serves
`run`; `pretrain` is the same from Python. Nothing else in sslkit trains a backbone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy
import torch

from sslkit.engine.assemble import Pretraining, assemble
from sslkit.engine.checkpoint import last_good
from sslkit.engine.distributed import World, joined, rank, world_size
from sslkit.engine.environment import choose_device
from sslkit.engine.frozen import FrozenModel
from sslkit.engine.interfaces import Data, Dataset, Normalisation, OptimizerFactory, Schedule
from sslkit.engine.inventory import fingerprint_of
from sslkit.engine.loader import LoaderDied
from sslkit.engine.metrics import MetricRing
from sslkit.engine.spikes import Spikes
from sslkit.engine.state import PretrainState, restore, save
from sslkit.engine.step import require_finite
from sslkit.engine.stops import Stopped, Stops
from sslkit.engine.watch import Watch
from sslkit.errors import NonFiniteError
from sslkit.registry.hookspecs import callback_manager


def train(
    pretraining: Pretraining,
    hooks: pluggy.PluginManager,
    *,
    checkpoints: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    plugins: Mapping[str, str] | None = None,
    stops: Stops | None = None,
    watch: Watch | None = None,
) -> PretrainState:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        pretraining: From `assemble`.
        hooks: Manager of the callbacks; on the first rank only, the others have none.
        checkpoints: Folder of checkpoints; None keeps none.
        identity: What a checkpoint must agree on to be continued: recipe and data.
        plugins: Version of each distribution whose components are used, for the checkpoints.
        stops: Asked after every step.
        watch: Told of every step.

    Raises:
        Stopped: A signal asked for it; a checkpoint was saved.
        NonFiniteError: The loss, a gradient or a weight is not finite; no checkpoint holds it.
    """
    state, stepper = PretrainState(pretraining), pretraining.stepper
    stops, watch = stops or Stops.current(), watch or Watch()
    if checkpoints is not None:
        restore(state, checkpoints, identity or {})
    try:
        with watch, torch.random.fork_rng([stepper.device] if stepper.device.type == "cuda" else []):
            _steps(state, hooks, checkpoints, identity or {}, plugins or {}, stops, watch)
    except NonFiniteError as error:
        kept = "" if checkpoints is None or str(checkpoints) in str(error) else f"; {last_good(checkpoints)}"
        raise NonFiniteError(f"{error}{kept}") from None
    pretraining.bad_images.log_summary("pretrain", pretraining.order.num_images, "and were replaced")
    return state


def _steps(
    state: PretrainState,
    hooks: pluggy.PluginManager,
    checkpoints: Path | None,
    identity: Mapping[str, Any],
    plugins: Mapping[str, str],
    stops: Stops,
    watch: Watch,
) -> None:
    pretraining, stepper = state.pretraining, state.pretraining.stepper
    ring = MetricRing(stepper.device)
    spikes = Spikes(pretraining.order, pretraining.source.dataset)
    last_record: dict[str, float] = {}

    def deliver(*, wait: bool) -> None:
        for record in ring.drain(wait=wait):
            require_finite(record, int(record["step"]))
            spikes.look(record)
            last_record.update(record)
            hooks.hook.sslkit_metrics(state=state, record=record)

    def save_now(*, required: bool) -> None:
        deliver(wait=True)
        if checkpoints is None:
            return
        path = save(state, checkpoints, identity, plugins, required=required)
        if path is not None:
            hooks.hook.sslkit_checkpoint_saved(state=state, path=path)

    hooks.hook.sslkit_pretrain_start(state=state)
    stepper.method.train()
    stream = pretraining.batches.stream(state.step, state.total_steps)
    before = time.perf_counter()
    try:
        while state.step < state.total_steps:
            stops.ask()
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
            asked = stops.agreed()
            is_long = state.ends_epoch or state.checkpoint_is_due or asked is not None
            watch.beat(long=is_long)
            if state.ends_epoch:
                deliver(wait=True)
                pretraining.batches.share_bad_images()
                hooks.hook.sslkit_epoch_end(state=state, metrics=dict(last_record))
            if asked or state.checkpoint_is_due:
                save_now(required=asked is not None)
            if asked:
                raise Stopped(f"stopped by {asked} after step {state.step:,} of {state.total_steps:,}")
            if is_long:  # the next step, too: other ranks now wait for what the first one's callbacks do
                before = time.perf_counter()
    except LoaderDied:
        if checkpoints is not None and world_size() == 1:
            save_now(required=False)  # it shows between steps only: the weights are whole
        raise
    finally:
        stream.close()  # lets the loader end its workers now, not when the process ends


def pretrain(
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
    device: torch.device | str = "auto",
    workers: int | None = None,
    callbacks: Sequence[Any] = (),
    checkpoints: str | Path | None = None,
    checkpoint_every_steps: int | None = None,
    checkpoint_every_epochs: int = 1,
) -> FrozenModel:
    """Pretrain a method on data; the same engine as `sslkit run`, without a recipe or a run folder.

    Started by torchrun, the processes share the work, each on the CUDA device of its own number.
    They use the process group that is there (it needs gloo beside NCCL), or one of their own while it lasts.

    Args:
        method: Module with `embed` and `loss`, or `forward(batch)`; such as `JointEmbedding`.
        data: Data component, or any dataset of (image, label).
        views: View generator.
        optimizer: Called with the parameter groups; such as `LARS`, or `functools.partial(sgd, momentum=0.95)`.
        epochs: Passes over the data; either these or `steps`.
        steps: Optimizer steps.
        batch_size: Images per step; what does not fill a batch is left out of the epoch.
        learning_rate: Before scaling and schedule.
        learning_rate_scaling: "none"; "linear": times batch_size / 256; "sqrt": times sqrt(batch_size).
        weight_decay: On weights; never on norms and biases.
        schedules: `learning_rate` and `weight_decay`, such as `{"learning_rate": cosine(warmup_epochs=10)}`.
        normalisation: Applied to every view and kept with the backbone.
        precision: "float32" or "bf16".
        micro_batch_size: Images that are embedded at once: the gradient is that of the whole batch, the memory that of
            these. None embeds the whole batch at once.
        seed: All randomness follows from it, but for the weights of the modules handed in.
        device: Where to train; "auto" takes a CUDA device where there is one.
        workers: Loader processes; None chooses.
        callbacks: Objects with `@hookimpl` methods.
        checkpoints: Folder to save to, and to continue from if the data and settings are those of before; more epochs
            or steps train on.
        checkpoint_every_steps: Save after this many steps.
        checkpoint_every_epochs: Save after this many epochs.

    Returns:
        A copy of the backbone, with its head, frozen. The method itself can be trained on.

    Raises:
        SslkitError: A setting, the data or a component is not right, or the checkpoints are of another pretraining.
    """
    world = World.of_environment()
    chosen = choose_device(str(device), world)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with joined(chosen):
        pretraining = assemble(
            method,
            data,
            views,
            optimizer,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_scaling=learning_rate_scaling,
            weight_decay=weight_decay,
            schedules=schedules,
            normalisation=normalisation,
            precision=precision,
            micro_batch_size=micro_batch_size,
            seed=seed,
            device=chosen,
            workers=workers,
            callbacks=callbacks,
            checkpoint_every_steps=checkpoint_every_steps,
            checkpoint_every_epochs=checkpoint_every_epochs,
        )
        is_first = rank() == 0
        folder = None if checkpoints is None else Path(checkpoints)
        if folder is not None and is_first:
            pretraining.bad_images.keep_in(folder)
        hooks = callback_manager(pretraining.callbacks if is_first else [])
        identity = {
            "data": fingerprint_of(pretraining.source.dataset),
            "optimizer": type(pretraining.stepper.optimizer).__name__,
            "batch_size": batch_size,
            "learning_rate": pretraining.learning_rate,
            "weight_decay": weight_decay,
            "schedules": sorted(schedules or {}),
            "precision": precision,
            "micro_batch_size": micro_batch_size,
            "seed": seed,
        }
        train(pretraining, hooks, checkpoints=folder, identity=identity)
        return pretraining.freeze(*copy.deepcopy(pretraining.kept()))
