"""A small network that names something from frozen features: what probes of factors and transforms share.

Enters: features with what is to be named, for training and for testing. Leaves: what the network names for each test
image, beside the truth. Called by `factor_probe`, and by evaluations of plugins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sslkit import DataError, Features, NonFiniteError, Outcome, Pretrained
from sslkit.builtin.evaluations.labelled import require_finite

_CHUNK = 8192  # images scored at once


class Probed(NamedTuple):
    """What a probe found.

    Attributes:
        predicted: int64 [n], what it names for each test image.
        label: int64 [n], the truth.
        chance: Accuracy of always naming what is most frequent in training.
        weight_decay: The chosen one.
        epoch: After which epoch the chosen network stood, from 1.
    """

    predicted: Tensor
    label: Tensor
    chance: float
    weight_decay: float
    epoch: int


class _Networks(NamedTuple):
    """G networks side by side: they see the same batches and differ in their weight decay only."""

    inner: Tensor  # [D, G * H]
    inner_bias: Tensor  # [G * H]
    outer: Tensor  # [G, H, K]
    outer_bias: Tensor  # [G, 1, K]

    def __call__(self, values: Tensor) -> Tensor:
        """Return scores [G, B, K] of features [B, D]."""
        hidden = torch.addmm(self.inner_bias, values, self.inner).relu()
        hidden = hidden.view(len(values), len(self.outer), -1).transpose(0, 1)
        return torch.baddbmm(self.outer_bias, hidden, self.outer)


@dataclass(frozen=True)
class MLPProbe:
    """A network with one hidden layer of ReLUs, trained by Adam with decoupled weight decay and one cosine to zero.

    Features are centred and divided by their deviation, dimension by dimension, as they are in the training part.
    A share of the training images, drawn from the seed, chooses among all weight decays and all epochs; the test
    images take no part in any choice.

    Attributes:
        hidden_dim: Width of the hidden layer.
        epochs: Passes over the training images.
        batch_size: At most this many images per step.
        learning_rate: Adam's, at the first step.
        weight_decays: To choose from: shares of the weights, per step and unit of learning rate.
        validation_fraction: Share of the training images that chooses.
    """

    hidden_dim: int = 256
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 0.001
    weight_decays: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    validation_fraction: float = 0.1

    def __call__(self, train: Features, test: Features, *, seed: int, device: torch.device) -> Probed:
        """Train on one part and name the other.

        Args:
            train: Values [n, D], and what is to be named, int64 [n] from 0.
            test: The same of the test images.
            seed: Decides about held-out images, first weights and the order of images.
            device: Where to train.

        Raises:
            DataError: There are not two training images.
            NonFiniteError: A feature is not a finite number, or every network diverged.
        """
        if len(train.values) < 2:
            raise DataError("a probe needs two training images at least: one to learn from, one to choose by")
        require_finite(train.values, "training images")
        require_finite(test.values, "test images")
        generator = torch.Generator().manual_seed(seed)
        num_classes = int(torch.cat([train.labels, test.labels]).max()) + 1
        order = torch.randperm(len(train.values), generator=generator)
        held, kept = order.to(device).tensor_split([max(1, round(self.validation_fraction * len(order)))])
        scaled, tested = _standardised(train.values.float().to(device), test.values.float().to(device), kept)
        labels = train.labels.to(device)
        best, which, epoch = self._train(scaled, labels, kept, held, num_classes, generator)
        predicted = _scores(best, tested)[which].argmax(dim=1).cpu()
        most_frequent = train.labels.bincount().argmax()
        chance = float((test.labels == most_frequent).double().mean())
        return Probed(predicted, test.labels.cpu(), chance, self.weight_decays[which], epoch)

    def outcome(self, train: Mapping[str, Features], test: Mapping[str, Features], pretrained: Pretrained) -> Outcome:
        """Probe for several things, and return what was found as one outcome.

        Args:
            train: What is to be named -> features of the training images, as for one.
            test: The same of the test images.
            pretrained: Says seed and device.

        Raises:
            DataError: There are not two training images.
            NonFiniteError: A feature is not a finite number, or every network diverged.
        """
        return probe_outcome(
            {name: self(train[name], test[name], seed=pretrained.seed, device=pretrained.device) for name in train}
        )

    def _train(
        self, values: Tensor, labels: Tensor, kept: Tensor, held: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[_Networks, int, int]:
        """Return the networks as they were when one of them was best, which one, and after which epoch."""
        networks = self._fresh(values, num_classes, generator)
        decays = torch.tensor(self.weight_decays, device=values.device)
        optimizer = torch.optim.Adam([tensor.requires_grad_() for tensor in networks], lr=self.learning_rate)
        num_batches = math.ceil(len(kept) / self.batch_size)
        found, score = (networks, 0, 0), (-1.0, -math.inf)
        for epoch in range(self.epochs):
            order = kept[torch.randperm(len(kept), generator=generator).to(kept.device)]
            for number, part in enumerate(order.tensor_split(num_batches)):
                fraction = (epoch * num_batches + number) / (self.epochs * num_batches)
                rate = self.learning_rate * 0.5 * (1 + math.cos(math.pi * fraction))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                with torch.enable_grad():
                    _losses(networks(values[part]), labels[part]).sum().backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    shrink = 1 - rate * decays
                    networks.inner.mul_(shrink.repeat_interleave(self.hidden_dim))
                    networks.outer.mul_(shrink.view(-1, 1, 1))
                optimizer.step()
            which, own = _best(_scores(networks, values[held]), labels[held])
            if own > score:
                score = own
                found = (_Networks(*(tensor.detach().clone() for tensor in networks)), which, epoch + 1)
        if score[0] < 0:
            raise NonFiniteError("every network of the probe diverged; lower its learning_rate")
        return found

    def _fresh(self, values: Tensor, num_classes: int, generator: torch.Generator) -> _Networks:
        """Return networks that are equal at first, drawn as `nn.Linear` draws."""
        count, dim = len(self.weight_decays), values.shape[1]

        def drawn(*shape: int, fan_in: int) -> Tensor:
            return ((2 * torch.rand(*shape, generator=generator) - 1) / math.sqrt(fan_in)).to(values.device)

        return _Networks(
            drawn(dim, self.hidden_dim, fan_in=dim).repeat(1, count),
            drawn(self.hidden_dim, fan_in=dim).repeat(count),
            drawn(1, self.hidden_dim, num_classes, fan_in=self.hidden_dim).repeat(count, 1, 1),
            drawn(1, 1, num_classes, fan_in=self.hidden_dim).repeat(count, 1, 1),
        )


def probe_outcome(found: Mapping[str, Probed]) -> Outcome:
    """Return what several probes found as one outcome.

    Metrics are, for each name, its accuracy, `chance_<name>`, `weight_decay_<name>` and `epoch_<name>`; the headline
    `mean_accuracy` is the mean of the accuracies. Predictions are `predicted_<name>` and `label_<name>`.

    Args:
        found: What is named, and what the probe of it found.
    """
    metrics: dict[str, float] = {"mean_accuracy": 0.0}
    predictions = {}
    for name, probed in found.items():
        metrics[name] = int((probed.predicted == probed.label).sum()) / len(probed.label)
        metrics[f"chance_{name}"] = probed.chance
        metrics[f"weight_decay_{name}"] = probed.weight_decay
        metrics[f"epoch_{name}"] = float(probed.epoch)
        predictions[f"predicted_{name}"] = probed.predicted.numpy()
        predictions[f"label_{name}"] = probed.label.numpy()
    metrics["mean_accuracy"] = float(np.mean([metrics[name] for name in found]))
    metrics["n"] = float(len(next(iter(found.values())).label))
    return Outcome("mean_accuracy", metrics, predictions)


@torch.no_grad()
def _scores(networks: _Networks, values: Tensor) -> Tensor:
    """Return scores [G, n, K] of any number of features [n, D]."""
    return torch.cat([networks(part) for part in torch.split(values, _CHUNK)], dim=1)


def _best(scores: Tensor, labels: Tensor) -> tuple[int, tuple[float, float]]:
    """Return which network names most images rightly, with how many and, to choose among equals, its negative loss."""
    losses = _losses(scores, labels)
    correct = (scores.argmax(dim=2) == labels).sum(dim=1).masked_fill(~losses.isfinite(), -1)
    ranked = list(zip(correct.tolist(), (-losses.nan_to_num(nan=math.inf)).tolist(), strict=True))
    which = ranked.index(max(ranked))
    return which, ranked[which]


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each network, [G], of scores [G, B, K]."""
    count, size, _ = scores.shape
    losses = cross_entropy(scores.flatten(0, 1), labels.repeat(count), reduction="none")
    return losses.view(count, size).mean(dim=1)


def _standardised(train: Tensor, test: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    centre, deviation = train[kept].mean(dim=0), train[kept].std(dim=0, correction=0)
    # What hardly varies beside the rest is rounding: it must not be blown up to a feature of its own.
    deviation = deviation.clamp_min(1e-4 * float(deviation.square().mean().sqrt()))
    deviation = deviation.clamp_min(1e-30)  # collapsed features, all the same, are named as they are: by chance
    return (train - centre) / deviation, (test - centre) / deviation
