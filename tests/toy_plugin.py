"""The smallest component of each pluggable kind, as a plugin file that recipes of the tests list under `plugins`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt
from torch import nn

from sslkit import LossOutput, hookimpl, uniforms

SSLKIT_API = 1


@hookimpl
def sslkit_register(register):
    register.views("brightness", "toy_plugin:Brightness", summary="Two views that differ in brightness.")
    register.backbone("pooled", "toy_plugin:Pooled", summary="Mean colour of a few patches, mixed linearly.")
    register.head("linear", "toy_plugin:LinearHead", summary="One linear layer.")
    register.objective("agreement", "toy_plugin:Agreement", summary="Cross-entropy of picking the other view.")
    register.callback("counter", "toy_plugin:Counter", summary="Counts steps, and keeps the count in checkpoints.")


class Brightness:
    num_views = 2
    whole_images = True

    def draw(self, keys):
        return uniforms(keys, 2, 1)

    def prepare(self, image, draws):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) if not torch.is_tensor(image) else image
        return (pixels.unsqueeze(0),)

    def apply(self, groups, draws):
        (images,) = groups
        scaled = images[:, 0].float() / 255
        return [(scaled * (0.5 + draws[:, view, 0].view(-1, 1, 1, 1))).clamp(0, 1) for view in range(2)]


class Pooled(nn.Module):
    """Args:
    width: Number of features.
    dropout: Share of features dropped in training.
    """

    def __init__(self, *, width: Annotated[int, Gt(0)] = 8, dropout: float = 0.0):
        super().__init__()
        self.feature_dim = width
        self.conv = nn.Conv2d(3, width, 4, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images):
        return self.dropout(self.norm(self.conv(images)).relu().mean(dim=(2, 3)))


class LinearHead(nn.Module):
    """Args:
    out_dim: Width of the projection.
    """

    def __init__(self, in_dim: int, *, out_dim: int = 4):
        super().__init__()
        self.out_dim = out_dim
        self.layer = nn.Linear(in_dim, out_dim)

    def forward(self, features):
        return self.layer(features)


class Agreement(nn.Module):
    """Args:
    temperature: Divides the similarities.
    """

    def __init__(self, *, temperature: Annotated[float, Gt(0)] = 0.5):
        super().__init__()
        self.temperature = temperature

    def forward(self, projections):
        first, second = (nn.functional.normalize(projection, dim=1) for projection in projections)
        logits = first @ second.T / self.temperature
        targets = torch.arange(len(logits), device=logits.device)
        right = (logits.detach().argmax(dim=1) == targets).float().mean()
        return LossOutput(nn.functional.cross_entropy(logits, targets), {"agreement": right})


class Counter:
    """Counts steps over interruptions."""

    def __init__(self) -> None:
        self.steps = torch.zeros(())

    @hookimpl
    def sslkit_step_end(self, state):
        self.steps += 1
        assert self.steps == state.step

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]
