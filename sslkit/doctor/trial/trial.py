"""The parts of the trial run, as small as parts can be that have random views, BatchNorm statistics and dropout.

Enters and leaves: what the contracts of sslkit say. Called by the runs that `sslkit doctor --faults` breaks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sslkit import Register, hookimpl, uniforms

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Name the parts."""
    register.views("exposures", "trial:Exposures", summary="Two views of different brightness.")
    register.backbone("patches", "trial:Patches", summary="Mean of what a few filters see in patches.")
    register.head("projection", "trial:Projection", summary="One linear layer.")
    register.objective("agreement", "trial:Agreement", summary="Find the other view of the same image in the batch.")


class Exposures:
    """Two views [B, 3, h, w] of different brightness."""

    num_views = 2
    whole_images = True

    def draw(self, keys: np.ndarray) -> np.ndarray:
        """Return the brightness of every view, [B, 2, 1] in [0, 1)."""
        return uniforms(keys, 2, 1)

    def prepare(self, image: Tensor, draws: np.ndarray) -> tuple[Tensor]:
        """Return the image as it is, once for both views."""
        return (image.unsqueeze(0),)

    def apply(self, groups: tuple[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the views in [0, 1]."""
        images = groups[0][:, 0].float() / 255
        return [images * (0.5 + 0.5 * draws[:, view, 0].view(-1, 1, 1, 1)) for view in range(2)]


class Patches(nn.Module):
    """Images [N, 3, h, w] to features [N, 16]."""

    feature_dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, self.feature_dim, 4, stride=4, bias=False)
        self.norm = nn.BatchNorm2d(self.feature_dim)
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        features: Tensor = self.dropout(self.norm(self.filters(images)).relu()).mean(dim=(2, 3))
        return features


class Projection(nn.Linear):
    """Features [N, D] to projections [N, 8]."""

    out_dim = 8

    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim, self.out_dim)


class Agreement:
    """Cross-entropy of finding the other view."""

    def __call__(self, projections: list[Tensor]) -> Tensor:
        """Return the loss of two views [B, 8]."""
        first, second = (nn.functional.normalize(projection, dim=1) for projection in projections)
        return nn.functional.cross_entropy(first @ second.T / 0.2, torch.arange(len(first), device=first.device))
