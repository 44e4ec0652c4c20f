"""The smallest partners for a component that needs others: a backbone, a head and an objective.

A plugin file: the recipes that checks are run on list it under `plugins`. Smooth, and computed in the precision of
their weights, so that one process and two differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from sslkit.registry.hookspecs import hookimpl
from sslkit.registry.register import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the partners; they are `local.toy_backbone` and so on."""
    register.backbone("toy_backbone", "sslkit.testing.toys:ToyBackbone", summary="Two convolutions with BatchNorm.")
    register.head("toy_head", "sslkit.testing.toys:ToyHead", summary="Two linear layers with BatchNorm.")
    register.objective("toy_objective", "sslkit.testing.toys:ToyObjective", summary="Picks the other view of an image.")


class ToyBackbone(nn.Module):
    """Two convolutions and a linear layer on what is light and dark: for images of any size and any channels.

    Args:
        width: Number of features.

    Attributes:
        feature_dim: The same.
    """

    def __init__(self, *, width: Annotated[int, Gt(0)] = 10) -> None:
        super().__init__()
        self.feature_dim = width
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=4, bias=False),
            nn.BatchNorm2d(8),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, width, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return features h, [N, D], of images [N, C, h, w]."""
        light = images.to(next(self.parameters()).dtype).mean(dim=1, keepdim=True)
        features: Tensor = self.layers((light - 0.5) * 2)
        return features


class ToyHead(nn.Module):
    """Two linear layers.

    Args:
        in_dim: Width of the features; the engine gives it.
        out_dim: Width of the projections; ten are also one for each class of the images.

    Attributes:
        out_dim: The same.
    """

    def __init__(self, in_dim: int, *, out_dim: Annotated[int, Gt(0)] = 10) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.layers = nn.Sequential(
            nn.Linear(in_dim, 12, bias=False), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, out_dim, bias=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return projections z, [N, P], of features h, [N, D]."""
        projections: Tensor = self.layers(features)
        return projections


class ToyObjective(nn.Module):
    """The cross-entropy of picking the second view of an image, among all second views, by the first."""

    min_views = 2

    def __init__(self) -> None:
        super().__init__()

    def forward(self, projections: Sequence[Tensor]) -> Tensor:
        """Return the loss of V projections [B, P]."""
        first, second = (normalize(view, dim=1) for view in projections[:2])
        logits = first @ second.T / 0.5
        return cross_entropy(logits, torch.arange(len(logits), device=logits.device))
