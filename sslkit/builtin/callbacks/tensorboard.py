"""The run's numbers in TensorBoard's format.

Enters: one record per step and the scores of evaluations. Leaves: event files under `tensorboard/` in the run
folder. Attached where a recipe lists `builtin.tensorboard` under `[[pretrain.callbacks]]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge

from sslkit import SslkitError, hookimpl, one_line

if TYPE_CHECKING:
    from sslkit import Outcome, PretrainState, RunInfo

_AXES = ("step", "epoch")


class TensorBoard:
    """Write scalars for `tensorboard --logdir RUN_FOLDER`.

    Steps that are done again after a kill replace those written before it. A run without a folder writes
    nothing.

    Args:
        every_steps: Write every so many steps; the last step is always written.

    Raises:
        SslkitError: If the package tensorboard is not installed.
    """

    def __init__(self, *, every_steps: Annotated[int, Ge(1)] = 10) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SslkitError(
                'builtin.tensorboard needs the package tensorboard; type: pip install "sslkit[tensorboard]" '
                f"({one_line(error)})"
            ) from error
        self._new_writer = SummaryWriter
        self._every_steps = every_steps
        self._folder: Path | None = None
        self._writer: Any = None
        self._last_step = 0

    @hookimpl
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Remember where the run is."""
        self._close()
        self._last_step = 0
        self._folder = None if run.folder is None else Path(run.folder) / "tensorboard"

    @hookimpl
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Open the file; what an earlier process wrote beyond this step is hidden by TensorBoard."""
        self._last_step = state.step
        self._open(purge_step=state.step + 1 if state.step else None)

    @hookimpl
    def sslkit_metrics(self, state: PretrainState, record: Mapping[str, Any]) -> None:
        """Write the numbers of one step, if it is one of those to write."""
        self._last_step = step = int(record["step"])
        if self._writer is None or (step % self._every_steps and step != state.total_steps):
            return
        for key, value in record.items():
            if key not in _AXES and isinstance(value, (int, float)):
                self._writer.add_scalar(f"pretrain/{key}", value, step)

    @hookimpl
    def sslkit_evaluation_end(self, name: str, outcome: Outcome) -> None:
        """Write an evaluation's scores, at the last step of the pretraining."""
        if self._writer is None:
            self._open(purge_step=None)
        if self._writer is not None:
            for metric, value in outcome.metrics.items():
                tag = f"evaluate/{name}/{metric}".replace(" ", "_")  # TensorBoard's tags have no spaces
                self._writer.add_scalar(tag, value, self._last_step)

    @hookimpl
    def sslkit_run_failed(self) -> None:
        """Close the file."""
        self._close()

    @hookimpl
    def sslkit_run_end(self) -> None:
        """Close the file."""
        self._close()

    def _open(self, purge_step: int | None) -> None:
        self._close()
        if self._folder is not None:
            self._writer = self._new_writer(str(self._folder), purge_step=purge_step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
