"""What all trackers do: turn a run's hooks into four calls to a service, on a thread of their own.

Enters: the hooks of a run. Leaves: calls of a `Sink`. Called by the engine; `wandb` and `mlflow` are sinks.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sslkit import hookimpl
from sslkit_trackers.background import Background

if TYPE_CHECKING:
    from sslkit import Outcome, PretrainState, RunInfo

_AXES = ("step", "epoch")


class Sink(Protocol):
    """A service that keeps numbers. All calls come from one thread, in order; they may block and raise."""

    def begin(self, name: str, folder: Path, recipe: dict[str, Any]) -> None:
        """Begin a run, or go on with that of the same folder.

        Args:
            name: The recipe's.
            folder: The run's; absolute.
            recipe: The resolved one, as tables.
        """

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep the numbers of a step; steps may come again after a stop."""

    def end(self, failed: bool) -> None:
        """End the run."""


class Tracker:
    """A callback that tells a sink of a run, without ever stopping or slowing it.

    Args:
        name: What to call it in messages.
        sink: The service.
        every_steps: Tell every so many steps; the last one is always told.
        patience_seconds: How long the end of the run may wait for the service.
    """

    def __init__(self, name: str, sink: Sink, *, every_steps: int, patience_seconds: float) -> None:
        self._name = name
        self._sink = sink
        self._every_steps = every_steps
        self._patience_seconds = patience_seconds
        self._background: Background | None = None
        self._last_step = 0

    @hookimpl
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Begin a run there."""
        self._close(failed=False)
        self._last_step = 0
        self._background = Background(self._name, patience_seconds=self._patience_seconds)
        name, folder = run.name, Path(run.folder).resolve()
        self._submit(lambda: self._sink.begin(name, folder, _resolved(folder)))

    @hookimpl
    def sslkit_metrics(self, state: PretrainState, record: Mapping[str, Any]) -> None:
        """Tell the numbers of one step, if it is one of those to tell."""
        self._last_step = step = int(record["step"])
        if step % self._every_steps and step != state.total_steps:
            return
        numbers = {f"pretrain/{key}": value for key, value in record.items() if key not in _AXES and _finite(value)}
        self._submit(lambda: self._sink.log(step, numbers))

    @hookimpl
    def sslkit_evaluation_end(self, name: str, outcome: Outcome) -> None:
        """Tell the scores of an evaluation, at the last step of the pretraining."""
        step = self._last_step
        scores = {f"evaluate/{name}/{key}": value for key, value in outcome.metrics.items() if _finite(value)}
        self._submit(lambda: self._sink.log(step, scores))

    @hookimpl
    def sslkit_run_failed(self) -> None:
        """End the run there as a failed one."""
        self._close(failed=True)

    @hookimpl
    def sslkit_run_end(self) -> None:
        """End the run there."""
        self._close(failed=False)

    def _submit(self, call: Any) -> None:
        if self._background is not None:
            self._background.submit(call)

    def _close(self, *, failed: bool) -> None:
        if self._background is not None:
            self._background.submit(lambda: self._sink.end(failed))
            self._background.close()
            self._background = None


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _resolved(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "resolved.toml").read_text(encoding="utf-8"))
