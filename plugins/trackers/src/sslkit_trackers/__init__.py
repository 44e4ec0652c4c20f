"""Trackers for sslkit: callbacks that tell other services of a run.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here: `Tracker` and `Sink` make a tracker of another service.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_trackers.background import Background
    from sslkit_trackers.mlflow import MLflow
    from sslkit_trackers.tensorboard_images import TensorBoardImages
    from sslkit_trackers.tracker import Sink, Tracker
    from sslkit_trackers.wandb import Wandb

__version__ = "0.1.0"

_HOME_OF = {
    "Background": "sslkit_trackers.background",
    "MLflow": "sslkit_trackers.mlflow",
    "Sink": "sslkit_trackers.tracker",
    "TensorBoardImages": "sslkit_trackers.tensorboard_images",
    "Tracker": "sslkit_trackers.tracker",
    "Wandb": "sslkit_trackers.wandb",
}

__all__ = ["Background", "MLflow", "Sink", "TensorBoardImages", "Tracker", "Wandb"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_trackers' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
