"""Of the kind head, each wrong in one thing."""

from right_toys.layers import Layers
from torch import nn


class Narrow(Layers):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.out_dim = 3


class Idle(Layers):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.classifier = nn.Linear(6, 10)


class Batched(Layers):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.layers[1] = nn.BatchNorm1d(7, track_running_stats=False)


class Counting(Layers):
    def __init__(self, in_dim):
        super().__init__(in_dim)
        self.seen = 1

    def forward(self, features):
        self.seen += self.training
        return super().forward(features) * self.seen
