"""A linear classifier that follows a backbone through its training.

Enters: features and labels, now and then. Leaves: the accuracy on others. Called by `online`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

MOMENTUM = 0.9
BATCH = 128
PASSES = 5
"""Over the features, each time; the classifier goes on from where the last time left it."""


class Probe:
    """Softmax regression by stochastic gradient descent with momentum, on features of unit size.

    Args:
        learning_rate: Constant; features are centred and divided by their root mean square norm, so that one rate
            serves all backbones and all of a training.
    """

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = learning_rate
        self._weight: Tensor | None = None  # [D + 1, classes], the bias in the last row
        self._velocity: Tensor | None = None

    def follow(self, features: Tensor, labels: Tensor, num_classes: int, seed: int) -> None:
        """Train on features as they are now.

        Args:
            features: float32 [n, D].
            labels: int64 [n].
            num_classes: Of the labels.
            seed: Of the order.
        """
        self._centre = features.mean(dim=0)
        self._norm = (features - self._centre).norm(dim=1).square().mean().sqrt().clamp(min=1e-12)
        rows = self._rows(features)
        shape = (rows.shape[1], num_classes)
        if self._weight is None or self._velocity is None or self._weight.shape != shape:
            self._weight, self._velocity = rows.new_zeros(shape), rows.new_zeros(shape)
        weight = self._weight.to(rows.device, copy=True).requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=self._learning_rate, momentum=MOMENTUM, nesterov=True)
        optimizer.state[weight]["momentum_buffer"] = self._velocity.to(rows.device)
        generator = torch.Generator().manual_seed(seed)
        with torch.enable_grad():
            for _ in range(PASSES):
                order = torch.randperm(len(rows), generator=generator).to(rows.device)
                for part in torch.split(order, BATCH):
                    optimizer.zero_grad()
                    cross_entropy(rows[part] @ weight, labels[part]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        self._weight, self._velocity = weight.detach(), optimizer.state[weight]["momentum_buffer"]

    def accuracy(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the share of features [n, D] whose class it finds, 0-dimensional."""
        assert self._weight is not None
        return ((self._rows(features) @ self._weight).argmax(dim=1) == labels).float().mean()

    def state_dict(self) -> dict[str, Any]:
        """Return weights and momentum; nothing before the first time."""
        return {} if self._weight is None else {"weight": self._weight, "velocity": self._velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._weight, self._velocity = state.get("weight"), state.get("velocity")

    def _rows(self, features: Tensor) -> Tensor:
        return pad((features - self._centre) / self._norm, (0, 1), value=1.0)
