"""Many softmax regressions at once, by stochastic gradient descent with the gradient in closed form.

Enters: features that fit in memory, labels, and a list of settings. Leaves: one classifier per setting. Called
by `linear`. Everything is a matrix product of all settings together: a grid of seven costs little more than one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MOMENTUM = 0.9
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
    labels: Tensor,
    num_classes: int,
    settings: list[Setting],
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[Tensor]:
    """Return the classifiers after the last step, one [D, classes] per setting; scores are features @ classifier.

    All settings see the same batches. The update is that of `torch.optim.SGD(nesterov=True)`; the gradient of
    the mean cross-entropy is x^T (softmax(x W) - onehot) / B.

    Args:
        features: float32 [n, D], the last column 1.
        labels: int64 [n].
        num_classes: Number of classes, K.
        settings: G settings.
        epochs: Passes over the features.
        batch_size: At most this many images per step; an epoch is cut into even batches.
        seed: Of the order of images.
    """
    device, (n, dim), num_settings = features.device, features.shape, len(settings)
    rates = torch.tensor([setting.learning_rate for setting in settings], device=device)
    decays = torch.tensor([setting.weight_decay for setting in settings], device=device)
    rates, decays = rates.repeat_interleave(num_classes), decays.repeat_interleave(num_classes)
    decayed = any(setting.weight_decay for setting in settings)

    weights = torch.zeros(dim, num_settings * num_classes, device=device)
    velocity = torch.zeros_like(weights)
    generator = torch.Generator().manual_seed(seed)
    num_batches = math.ceil(n / batch_size)
    total_steps, step = epochs * num_batches, 0
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator).to(device)
        for part in order.tensor_split(num_batches):
            x = features[part]
            target = labels[part].view(-1, 1, 1).expand(-1, num_settings, 1)
            residuals = (x @ weights).view(len(x), num_settings, num_classes).softmax(dim=2)
            residuals.scatter_add_(2, target, torch.full_like(residuals[:, :, :1], -1.0))
            gradient = (x.T @ residuals.view(len(x), -1)).div_(len(x))
            if decayed:
                gradient[:-1].addcmul_(weights[:-1], decays)
            velocity.mul_(MOMENTUM).add_(gradient)
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / total_steps))
            weights.sub_(gradient.add_(velocity, alpha=MOMENTUM).mul_(rates * cosine))
            step += 1
    return list(weights.view(dim, num_settings, num_classes).unbind(dim=1))
