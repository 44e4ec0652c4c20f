"""Trackers for sslkit: callbacks that tell other services of a run.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here: `Tracker` and `Sink` make a tracker of another service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_trackers.background import Background
    from sslkit_trackers.mlflow import MLflow
    from sslkit_trackers.tensorboard_images import TensorBoardImages
    from sslkit_trackers.tracker import Sink, Tracker
    from sslkit_trackers.wandb import Wandb

__version__ = "0.1.0"

__all__ = ["Background", "MLflow", "Sink", "TensorBoardImages", "Tracker", "Wandb"]
__getattr__, __dir__ = load_on_use(
    __name__,
    {
        "Background": "sslkit_trackers.background",
        "MLflow": "sslkit_trackers.mlflow",
        "Sink": "sslkit_trackers.tracker",
        "TensorBoardImages": "sslkit_trackers.tensorboard_images",
        "Tracker": "sslkit_trackers.tracker",
        "Wandb": "sslkit_trackers.wandb",
    },
)
