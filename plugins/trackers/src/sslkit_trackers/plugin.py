"""What this plugin offers. Called by sslkit's discovery through the entry point `trackers`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the trackers under the names `trackers.<file>`."""
    register.callback(
        "wandb",
        "sslkit_trackers.wandb:Wandb",
        summary="Numbers, scores and recipe of a run in Weights & Biases.",
    )
    register.callback(
        "mlflow",
        "sslkit_trackers.mlflow:MLflow",
        summary="Numbers, scores and recipe of a run in MLflow.",
    )
    register.callback(
        "tensorboard_images",
        "sslkit_trackers.tensorboard_images:TensorBoardImages",
        summary="The views that the method sees, as images in TensorBoard.",
    )
