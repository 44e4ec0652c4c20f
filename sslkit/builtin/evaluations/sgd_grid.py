"""Many linear classifiers at once, by stochastic gradient descent with the gradient in closed form.

Enters: features that fit in memory, a loss, and a list of settings. Leaves: one classifier per setting. Called by
`linear`. Everything is a matrix product of all settings together: a grid of seven costs little more than one.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from sslkit.builtin.evaluations.class_losses import ClassLoss

MOMENTUM: Final = 0.9
"""Source: Chen et al. 2020 (SimCLR), appendix B.6."""


class Setting(NamedTuple):
    """How one classifier is trained.

    Attributes:
        learning_rate: At the first step, as applied.
        weight_decay: L2 penalty on every row of the weights but the last, which is the bias.
    """

    learning_rate: float
    weight_decay: float


def train_classifiers(
    features: Tensor,
    loss: ClassLoss,
    chosen: Tensor,
    num_classes: int,
    settings: list[Setting],
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[Tensor]:
    """Return the classifiers after the last step, one [D, classes] per setting; scores are features @ classifier.

    All settings see the same batches. The update is that of `torch.optim.SGD(nesterov=True)`.

    Args:
        features: float32 [n, D], the last column 1.
        loss: Of the n images.
        chosen: int64 [m], the images to train on.
        num_classes: Number of classes, K.
        settings: G settings.
        epochs: Passes over the chosen images.
        batch_size: At most this many images per step; an epoch is cut into even batches.
        seed: Of the order of images.
    """
    device, dim, num_settings = features.device, features.shape[1], len(settings)
    rates = torch.tensor([setting.learning_rate for setting in settings], device=device)
    decays = torch.tensor([setting.weight_decay for setting in settings], device=device)
    rates, decays = rates.repeat_interleave(num_classes), decays.repeat_interleave(num_classes)
    decayed = any(setting.weight_decay for setting in settings)

    weights = torch.zeros(dim, num_settings * num_classes, device=device)
    velocity = torch.zeros_like(weights)
    # One buffer for all batches: fresh memory for each would cost more than the copy, and than the products.
    rows = torch.empty(min(batch_size, len(chosen)), dim, device=device)
    generator = torch.Generator().manual_seed(seed)
    num_batches = math.ceil(len(chosen) / batch_size)
    total_steps, step = epochs * num_batches, 0
    for _ in range(epochs):
        order = chosen[torch.randperm(len(chosen), generator=generator)].to(device)
        for part in order.tensor_split(num_batches):
            x = torch.index_select(features, 0, part, out=rows[: len(part)])
            _, residuals = loss.rows(part)((x @ weights).view(len(x), num_settings, num_classes))
            gradient = (x.T @ residuals.view(len(x), -1)).div_(len(x))
            if decayed:
                gradient[:-1].addcmul_(weights[:-1], decays)
            velocity.mul_(MOMENTUM).add_(gradient)
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / total_steps))
            weights.sub_(gradient.add_(velocity, alpha=MOMENTUM).mul_(rates * cosine))
            step += 1
    return list(weights.view(dim, num_settings, num_classes).unbind(dim=1))
