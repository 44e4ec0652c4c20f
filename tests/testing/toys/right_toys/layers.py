"""A head of two layers."""

from typing import Annotated

from annotated_types import Gt
from torch import nn


class Layers(nn.Module):
    """Two linear layers with BatchNorm between them.

    Args:
        in_dim: Width of the features; the engine gives it.
        out_dim: Width of the projections.
    """

    def __init__(self, in_dim, *, out_dim: Annotated[int, Gt(0)] = 6):
        super().__init__()
        self.out_dim = out_dim
        self.layers = nn.Sequential(nn.Linear(in_dim, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, out_dim))

    def forward(self, features):
        return self.layers(features)
