"""A network that trains in no time, for what is tested on weights."""

import pytest
import torch
from torch import nn

torch.set_num_threads(1)  # the tensors here are tiny: more threads would only wait for each other


class Tiny(nn.Module):
    feature_dim = 8

    def __init__(self, channels=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 6, 4, stride=4, bias=False), nn.BatchNorm2d(6))
        self.last = nn.Sequential(nn.Conv2d(6, 8, 2, bias=False), nn.BatchNorm2d(8))

    def forward(self, images):
        return self.last(self.stem(images).relu()).relu().mean(dim=(2, 3))


@pytest.fixture
def tiny_network():
    """Return a function that makes the network, with the same weights and BatchNorm statistics every time."""

    def make(channels=3):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Tiny(channels)
            for _ in range(20):
                network(torch.rand(16, channels, 16, 16))
        return network

    return make
