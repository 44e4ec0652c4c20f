"""A running pretraining: where it stands, and how that is saved and brought back.

Enters: a `Pretraining` and its folder of checkpoints. Leaves: a checkpoint, written by the first rank; or the state of
the newest one, on every rank. Called by `pretrain`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sslkit.engine.assemble import Pretraining
from sslkit.engine.checkpoint import choose_checkpoint, read_checkpoint, save_checkpoint
from sslkit.engine.distributed import on_first
from sslkit.engine.interfaces import Normalisation, Progress
from sslkit.engine.inventory import keep_inventory, what_differs
from sslkit.engine.trees import load_model_tree, load_optimizer_tree, optimizer_tree
from sslkit.errors import NonFiniteError, RunError

MEASURED_EVERY: Final = 10
"""Steps between two whose costlier metrics are computed; the first step and the last of each epoch are measured too."""

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
    def normalisation(self) -> Normalisation | None:
        """What was done to the views before the method saw them."""
        return self.pretraining.normalisation

    @property
    def epochs(self) -> int:
        """Passes over the data in all, the last of them perhaps not whole."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass."""
        return self.pretraining.order.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Steps in all."""
        return self.pretraining.total_steps

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes together."""
        return self.pretraining.order.batch_size

    @property
    def progress(self) -> Progress:
        """What schedules are functions of."""
        coming = self.step + 1
        measured = coming == 1 or coming % MEASURED_EVERY == 0 or coming % self.steps_per_epoch == 0
        return Progress(self.step, self.total_steps, self.steps_per_epoch, measured)

    @property
    def ends_epoch(self) -> bool:
        """Whether the step just done was the last of its epoch."""
        return self.step % self.steps_per_epoch == 0

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether a checkpoint belongs after the step just done."""
        pretraining = self.pretraining
        every = pretraining.checkpoint_every_steps
        return (
            self.step == self.total_steps
            or (every is not None and self.step % every == 0)
            or (self.ends_epoch and (self.step // self.steps_per_epoch) % pretraining.checkpoint_every_epochs == 0)
        )


def save(
    state: PretrainState,
    folder: Path,
    identity: Mapping[str, Any],
    plugins: Mapping[str, str],
    *,
    required: bool,
) -> Path | None:
    """Save a checkpoint; every rank returns once it is on the disk.

    Args:
        state: What to save; the same on all ranks.
        folder: The folder of checkpoints.
        identity: What a continuation must agree on.
        plugins: Version of each distribution whose components are used.
        required: A checkpoint that cannot be written is an error even with `on_save_error = "continue"`.

    Returns:
        Its path; None if it could not be written and the run goes on all the same.
    """
    stepper, pretraining = state.pretraining.stepper, state.pretraining

    def write() -> Path:
        parts = {
            "model": dict(stepper.method.state_dict()),
            "optimizer": optimizer_tree(stepper.optimizer, stepper.method),
            "callbacks": {key: callback.state_dict() for key, callback in _stateful(pretraining.callbacks).items()},
        }
        saved = {"identity": dict(identity)}
        return save_checkpoint(folder, state.step, parts, saved, plugins=plugins, infinite=stepper.infinite)

    try:
        return on_first(write)
    except NonFiniteError:
        raise
    except RunError as error:
        if required or pretraining.on_save_error == "raise":
            raise
        logger.warning("going on without a checkpoint: %s", error)
        return None


def restore(state: PretrainState, folder: Path, identity: Mapping[str, Any]) -> None:
    """Bring back the newest whole checkpoint, if there is one.

    Raises:
        RunError: No checkpoint is whole, or it belongs to another recipe, other data or other modules.
    """
    pretraining = state.pretraining
    path = on_first(lambda: choose_checkpoint(folder))
    if path is None:
        on_first(lambda: keep_inventory(folder, pretraining.source))
        return
    parts, saved = read_checkpoint(path)
    _require_same(saved["identity"], identity, folder, state)
    on_first(lambda: keep_inventory(folder, pretraining.source))
    stepper = pretraining.stepper
    load_model_tree(stepper.method, parts["model"], path)
    load_optimizer_tree(stepper.optimizer, stepper.method, parts["optimizer"])
    for key, callback in _stateful(pretraining.callbacks).items():
        if key in parts["callbacks"]:
            callback.load_state_dict(parts["callbacks"][key])
    state.step = saved["step"]
    if state.step > state.total_steps:
        raise RunError(f"{folder}: {state.step:,} steps are done already, but the recipe wants {state.total_steps:,}")
    logger.info("going on after step %s", f"{state.step:,}")


def _require_same(before: Mapping[str, Any], identity: Mapping[str, Any], folder: Path, state: PretrainState) -> None:
    changed = sorted(key for key in identity if before.get(key) != identity[key])
    if "data" in changed:
        raise RunError(
            f"{folder}: the images on which this run began are not these: "
            f"{what_differs(folder, state.pretraining.source)}; bring them back as they were, or start a new run in "
            "another folder"
        )
    if changed:
        began = [
            f"another {key}" if isinstance(identity[key], Mapping) else f"{key} {before.get(key)}, not {identity[key]}"
            for key in changed
        ]
        raise RunError(f"{folder}: this run began with {' and '.join(began)}; start a new run in another folder")


def _stateful(callbacks: Iterable[Any]) -> dict[str, Any]:
    return {
        f"{number}-{type(callback).__name__}": callback
        for number, callback in enumerate(callbacks)
        if hasattr(callback, "state_dict")
    }
