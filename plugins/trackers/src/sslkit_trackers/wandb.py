"""A run's numbers in Weights & Biases.

Enters: the hooks of a run. Leaves: a run there, under the recipe's name. Attached where a recipe lists `trackers.wandb`
under `[[pretrain.callbacks]]`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from sslkit import SslkitError, one_line
from sslkit_trackers.tracker import Tracker


class Wandb(Tracker):
    """Tell Weights & Biases of a run: its recipe, its numbers, its scores.

    A run that is continued goes on there, for its id follows from the run folder's path. Nothing is sent beside: no
    weights, no code, no console.

    Args:
        project: Its project there.
        entity: User or team that owns the project; unset, the default of whoever is logged in.
        mode: `online`, or `offline`: kept in the run folder, for `wandb sync` to send.
        tags: Of the run.
        every_steps: Tell every so many steps; the last one is always told.
        patience_seconds: How long the end of the run may wait for the service.

    Raises:
        SslkitError: The package wandb is not installed.
    """

    def __init__(
        self,
        *,
        project: str,
        entity: str | None = None,
        mode: Literal["online", "offline"] = "online",
        tags: tuple[str, ...] = (),
        every_steps: Annotated[int, Ge(1)] = 10,
        patience_seconds: Annotated[float, Gt(0)] = 30.0,
    ) -> None:
        try:
            library = import_module("wandb")
        except ImportError as error:
            raise SslkitError(
                'trackers.wandb needs the package wandb; type: pip install "sslkit-trackers[wandb]" '
                f"({one_line(error)})"
            ) from error
        sink = _WandbSink(library, {"project": project, "entity": entity, "mode": mode, "tags": tags})
        super().__init__("trackers.wandb", sink, every_steps=every_steps, patience_seconds=patience_seconds)


class _WandbSink:
    def __init__(self, library: Any, options: dict[str, Any]) -> None:
        self._library = library
        self._options = options
        self._run: Any = None

    def begin(self, name: str, folder: Path, recipe: dict[str, Any]) -> None:
        quiet = self._library.Settings(console="off", disable_code=True, disable_git=True, silent=True)
        self._run = self._library.init(
            **self._options,
            name=name,
            id=hashlib.sha256(str(folder).encode()).hexdigest()[:16],
            resume="allow",
            dir=str(folder),
            config=recipe,
            settings=quiet,
        )
        # Their own counter only rises: a step that is done again after a stop would be dropped without an axis of ours.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"step": step, **numbers})

    def end(self, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)
