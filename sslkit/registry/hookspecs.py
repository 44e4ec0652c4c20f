"""The hooks of sslkit: one to register components, and those of a run, for callbacks.

A plugin marks its function or methods with `hookimpl` (`from sslkit import hookimpl`) and takes only the
arguments it needs. Types are imported for checking only, so this file is as light as pluggy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from sslkit.errors import PluginError
from sslkit.text import did_you_mean, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from sslkit.engine.interfaces import Batch, Outcome
    from sslkit.engine.run_info import RunInfo
    from sslkit.engine.state import PretrainState
    from sslkit.registry.register import Register

hookspec = pluggy.HookspecMarker("sslkit")
hookimpl = pluggy.HookimplMarker("sslkit")


class PluginHooks:
    """What an installed plugin, or a file that a recipe lists under `plugins`, implements."""

    @hookspec
    def sslkit_register(self, register: Register) -> None:
        """Register the plugin's components.

        Called whenever plugins are discovered. Must not import torch: targets are
        strings, `register.objective("nt_xent", "sslkit_simclr.nt_xent:NTXent", summary="...")`.

        Args:
            register: Has one method per kind of component; belongs to this plugin alone.
        """


class RunHooks:
    """What a callback may implement. A callback only watches: what changes the mathematics is a component.

    A callback that raises stops the run. Order: JSONL, the console, then as in the recipe.
    """

    @hookspec
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Everything is built and the run folder exists; nothing has been trained.

        Args:
            run: The plan, the folder and the recipe.
        """

    @hookspec
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Pretraining begins, or goes on from a checkpoint.

        Args:
            state: `state.step` is the number of steps already done.
        """

    @hookspec
    def sslkit_step_end(self, state: PretrainState, batch: Batch, metrics: dict[str, Any]) -> None:
        """One optimizer step is done.

        Args:
            state: After the step; `state.step` counts it.
            batch: What the method saw.
            metrics: Scalars still on the device: reading one here waits for the device.
        """

    @hookspec
    def sslkit_metrics(self, state: PretrainState, record: dict[str, float]) -> None:
        """The numbers of one step have reached the host, in order, some steps after the step itself.

        Args:
            state: As it is now, possibly a few steps further on.
            record: `step`, `epoch`, `loss`, rates, speeds and the method's own metrics of that step.
        """

    @hookspec
    def sslkit_epoch_end(self, state: PretrainState, metrics: dict[str, float]) -> None:
        """A pass over the data is done.

        Args:
            state: After the last step of the epoch.
            metrics: The last record of the epoch.
        """

    @hookspec
    def sslkit_checkpoint_saved(self, state: PretrainState, path: Path) -> None:
        """A checkpoint is complete on disk.

        Args:
            state: As it was saved.
            path: The checkpoint's folder.
        """

    @hookspec
    def sslkit_evaluation_end(self, run: RunInfo, name: str, outcome: Outcome) -> None:
        """One evaluation of one kind of features is done.

        Args:
            run: The plan, the folder and the recipe.
            name: The evaluation's name with the features and weights it measured.
            outcome: Its scores and predictions.
        """

    @hookspec
    def sslkit_run_failed(self, error: BaseException) -> None:
        """The run ends with an error or was stopped.

        Args:
            error: What ended it.
        """

    @hookspec
    def sslkit_run_end(self, summary: dict[str, Any]) -> None:
        """The run is complete.

        Args:
            summary: What `summary.json` holds.
        """


def callback_manager(callbacks: list[Any]) -> pluggy.PluginManager:
    """Return a manager that calls the hooks of these callbacks in order.

    Args:
        callbacks: Objects with `@hookimpl` methods.

    Raises:
        PluginError: A hook's name or argument does not exist, or what is meant as a hook is not marked as one.
    """
    manager = pluggy.PluginManager("sslkit")
    manager.add_hookspecs(RunHooks)
    known = [name for name in vars(RunHooks) if name.startswith("sslkit_")]
    for callback in callbacks:
        if isinstance(callback, type):
            raise PluginError(
                f"the callback {callback.__name__} is a class; give an object of it: {callback.__name__}()"
            )
        kind = type(callback)
        for name in dir(kind):
            if name.startswith("sslkit_") and name not in known:
                raise PluginError(f"{kind.__name__}.{name} is no hook of a run{did_you_mean(name, known)}")
            if name in known and not hasattr(getattr(kind, name), "sslkit_impl"):
                raise PluginError(f"{kind.__name__}.{name} is not marked as a hook; write @sslkit.hookimpl above it")
    if len({id(callback) for callback in callbacks}) < len(callbacks):
        raise PluginError("a callback is there twice; give each once")
    try:
        for callback in reversed(callbacks):  # pluggy calls the last registered first
            manager.register(callback)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a callback's hook does not fit: {one_line(error)}") from None
    return manager
