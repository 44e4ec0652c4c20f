"""What the method sees, as images in TensorBoard.

Enters: a batch in each epoch. Leaves: event files under `tensorboard/` in the run folder. Attached where a recipe lists
`trackers.tensorboard_images` under `[[pretrain.callbacks]]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import interpolate, pad

from sslkit import SslkitError, hookimpl, one_line
from sslkit_trackers.background import Background

if TYPE_CHECKING:
    from sslkit import Batch, PretrainState, RunInfo


class TensorBoardImages:
    """Write some images of a batch, all views of each side by side, for `tensorboard --logdir RUN_FOLDER`.

    The last batch of an epoch is shown: one row for an image, one column for a view, the smaller views enlarged. Where
    images are normalised, that is undone.

    Args:
        every_epochs: Write in every so many epochs.
        num_images: How many images.
        patience_seconds: How long the end of the run may wait for the files.

    Raises:
        SslkitError: The package tensorboard is not installed.
    """

    def __init__(
        self,
        *,
        every_epochs: Annotated[int, Ge(1)] = 1,
        num_images: Annotated[int, Ge(1)] = 8,
        patience_seconds: Annotated[float, Gt(0)] = 30.0,
    ) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SslkitError(
                "trackers.tensorboard_images needs the package tensorboard; type: "
                f'pip install "sslkit-trackers[tensorboard]" ({one_line(error)})'
            ) from error
        self._new_writer = SummaryWriter
        self._every_epochs = every_epochs
        self._num_images = num_images
        self._patience_seconds = patience_seconds
        self._folder: Path | None = None
        self._writer: Any = None
        self._background: Background | None = None

    @hookimpl
    def sslkit_run_start(self, run: RunInfo) -> None:
        """Remember where the run is."""
        self._close()
        self._folder = Path(run.folder) / "tensorboard"

    @hookimpl
    def sslkit_pretrain_start(self, state: PretrainState) -> None:
        """Start the thread that writes; what an earlier process wrote beyond this step is hidden by TensorBoard."""
        self._close()
        self._background = Background("trackers.tensorboard_images", patience_seconds=self._patience_seconds)
        purge_step = state.step + 1 if state.step else None
        self._background.submit(lambda: self._open(purge_step))

    @hookimpl
    def sslkit_step_end(self, state: PretrainState, batch: Batch) -> None:
        """Take copies of the first images after the last step of an epoch; nothing waits for the device."""
        if not state.ends_epoch or self._background is None:
            return
        epoch, step = state.step // state.steps_per_epoch, state.step
        if epoch % self._every_epochs:
            return
        views = [view[: self._num_images].detach().clone() for view in batch.views]
        normalisation = state.normalisation
        scale = None if normalisation is None else (normalisation.mean, normalisation.std)
        self._background.submit(lambda: self._writer.add_image("views", image_grid(views, scale), step))

    @hookimpl
    def sslkit_run_failed(self) -> None:
        """Close the files."""
        self._close()

    @hookimpl
    def sslkit_run_end(self) -> None:
        """Close the files."""
        self._close()

    def _open(self, purge_step: int | None) -> None:
        self._writer = self._new_writer(str(self._folder), purge_step=purge_step, filename_suffix=".images")

    def _close(self) -> None:
        if self._background is not None:
            self._background.submit(lambda: self._writer.close())
            self._background.close()
            self._background = None


def image_grid(views: Sequence[Tensor], scale: tuple[Sequence[float], Sequence[float]] | None) -> Tensor:
    """Return one image [C, height, width] in [0, 1]: a row for each of n images, a column for each of V views.

    Args:
        views: V tensors [n, C, h, w]; sizes may differ.
        scale: Mean and deviation of each channel, to undo a normalisation.
    """
    side = max(view.shape[-1] for view in views)
    columns = []
    for view in views:
        images = view.cpu().float()
        if scale is not None:
            mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in scale)
            images = images * deviation + mean
        images = interpolate(images, size=(side, side), mode="nearest")
        columns.append(pad(images, (1, 1, 1, 1)))  # a black line between them
    rows = torch.cat(columns, dim=3)
    return torch.cat(list(rows), dim=1).clamp(0, 1)
