"""A classifier trained on randomly cropped and mirrored images, with or without the network under it.

Enters: a backbone, a head and labelled images. Leaves: both trained, frozen. Called by `linear_augmented` and
`fine_tune`. The training is the engine's own: its loader, its ranks, its signals, its look at what is not finite.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from sslkit import (
    Classifier,
    CropFlip,
    CrossEntropy,
    DataError,
    FrozenModel,
    JointEmbedding,
    Normalisation,
    Pretrained,
    cosine,
    hookimpl,
    pretrain,
    sgd,
    world_size,
)
from sslkit.builtin.evaluations.training_images import TrainingImages

if TYPE_CHECKING:
    from sslkit import PretrainState

Precision = Literal["float32", "bf16"]

logger = logging.getLogger("sslkit")

_CHECKPOINT_STEPS = 500  # between two; a signal saves one as well
_LINES = 10  # of progress in the log


def fitting_batch(batch_size: int, num_images: int) -> int:
    """Return the images of a step: at most all there are, and as many for each process.

    Raises:
        DataError: There are fewer images than processes.
    """
    batch_size = min(batch_size, num_images)
    if batch_size < world_size():
        raise DataError(f"{batch_size} training images cannot be shared by {world_size()} processes; start fewer")
    return batch_size - batch_size % world_size()


def steps_of(epochs: int, num_images: int, batch_size: int) -> int:
    """Return as many steps as see `epochs` times as many images as there are.

    Each pass leaves out what does not fill a batch, so a pass more makes up for it. Source: the code of SimCLR, whose
    batches go on over the end of an epoch.
    """
    return max(1, round(epochs * num_images / batch_size))


def images_seen(num_images: int, batch_size: int, epochs: int, steps: int | None = None) -> int:
    """Return how many images go through a training, each as often as it is seen."""
    batch = fitting_batch(batch_size, num_images)
    return batch * (steps or steps_of(epochs, num_images, batch))


def train_classifier(
    title: str,
    backbone: nn.Module,
    num_classes: int,
    images: TrainingImages,
    pretrained: Pretrained,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    normalisation: Normalisation | None,
    precision: Precision,
    name: str = "training",
) -> FrozenModel:
    """Train a new classifier from zero, and whatever of the backbone takes gradients; measure it at "z" for logits.

    Nesterov momentum 0.9, one cosine to zero without warm-up. Source: SimCLR, appendices B.5, B.6 and B.8.1; the cosine
    is that of its code. torch's generators are left as they were.

    Args:
        title: The evaluation, for the log.
        backbone: Images [N, C, h, w] to features [N, D].
        num_classes: Number of classes.
        images: What to train on.
        pretrained: Says image size, device, seed and loader processes.
        steps: Optimizer steps.
        batch_size: Images per step, from `fitting_batch`.
        learning_rate: At the first step, as applied.
        weight_decay: L2 penalty on weights, never on norms and biases.
        normalisation: Applied before the backbone.
        precision: Of the training.
        name: Of its checkpoints, from which a long training goes on after a stop.

    Raises:
        NonFiniteError: The training diverged.
    """
    device = pretrained.device
    views = CropFlip(image_size=pretrained.input_size, crop_on="worker" if images.table("train") is None else "device")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        head = Classifier(backbone.feature_dim, num_classes, zero_init=True)  # type: ignore[arg-type]
        return pretrain(
            JointEmbedding(backbone, head, CrossEntropy()),
            images,
            views,
            partial(sgd, momentum=0.9, nesterov=True),
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedules={"learning_rate": cosine(warmup_epochs=0)},
            normalisation=normalisation,
            precision=precision,
            seed=pretrained.seed,
            device=device if world_size() == 1 else device.type,
            workers=pretrained.workers,
            callbacks=[_Progress(title)],
            checkpoints=None if pretrained.checkpoints is None else pretrained.checkpoints / name,
            checkpoint_every_steps=_CHECKPOINT_STEPS,
            checkpoint_every_epochs=steps,
        )


class _Progress:
    """Says in the log how far a training is: evaluations have no progress bar."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._said = 0

    @hookimpl
    def sslkit_epoch_end(self, state: PretrainState, metrics: dict[str, float]) -> None:
        done = state.step * _LINES // state.total_steps
        if done > self._said:
            self._said = done
            numbers = ", ".join(f"{name} {metrics[name]:.4f}" for name in ("loss", "top1") if name in metrics)
            logger.info("%s: step %d of %d, %s", self._title, state.step, state.total_steps, numbers)
