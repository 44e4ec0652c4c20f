"""Of the kind backbone, each wrong in one thing."""

import torch
from right_toys.network import Network
from torch import nn
from torch.nn.functional import dropout


class Narrow(Network):
    def __init__(self):
        super().__init__()
        self.feature_dim = 4


class Forgetful(Network):
    def forward(self, images):
        return dropout(super().forward(images), 0.5)


class Idle(Network):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(8, 10)


class Counting(Network):
    def __init__(self):
        super().__init__()
        self.seen = 1

    def forward(self, images):
        self.seen += self.training
        return super().forward(images) * self.seen


class Strided(Network):
    def forward(self, images):
        return self.maps(images).view(len(images), -1).unflatten(1, (8, -1)).mean(dim=2)


class Widening(Network):
    def forward(self, images):
        features = super().forward(images)
        return features if images.shape[-1] <= 32 else torch.cat([features, features], dim=1)
