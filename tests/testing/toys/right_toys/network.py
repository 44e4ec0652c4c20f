"""A small convolutional network."""

from typing import Annotated

from annotated_types import Gt
from torch import nn


class Network(nn.Module):
    """Two convolutions.

    Args:
        width: Number of features.
    """

    def __init__(self, *, width: Annotated[int, Gt(0)] = 8):
        super().__init__()
        self.feature_dim = width
        self.first = nn.Conv2d(3, 6, 4, stride=4)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, width, 3)

    def maps(self, images):
        return self.second(self.norm(self.first(images)).tanh())

    def forward(self, images):
        return self.maps(images).mean(dim=(2, 3))
