"""Of the kind method, each wrong in one thing."""

import torch
from right_toys.following import Following
from torch import nn

from sslkit import rank


class Still(Following):
    def loss(self, embeddings, batch):
        loss, metrics = super().loss(embeddings, batch)
        return 0 * loss, metrics


class Idle(Following):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.classifier = nn.Linear(8, 10)


class Stirring(Following):
    def embed(self, batch):
        self.centre += 1
        return super().embed(batch)


class Comparing(Following):
    def embed(self, batch):
        online, target = super().embed(batch)
        return [view - view.mean(dim=0) for view in online], target


class Local(Following):
    def loss(self, embeddings, batch):
        loss, metrics = super().loss(embeddings, batch)
        return loss + self.spread(torch.stack(embeddings[0], dim=1)), metrics


class Ranked(Following):
    def after_step(self, progress):
        super().after_step(progress)
        self.centre += 1e-3 * rank()


class Growing(Following):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.register_buffer("seen", torch.zeros(0))

    def after_step(self, progress):
        super().after_step(progress)
        self.seen = torch.cat([self.seen, torch.ones(1)])


class Counting(Following):
    steps = 0

    def loss(self, embeddings, batch):
        loss, metrics = super().loss(embeddings, batch)
        return loss * (1 + self.steps), metrics

    def after_step(self, progress):
        super().after_step(progress)
        self.steps += 1


class Wrapped(Following):
    def __init__(self, backbone, head):
        super().__init__(backbone, head)
        self.backbone = nn.Sequential(backbone)
        self.backbone.feature_dim = backbone.feature_dim


class Mixing(Following):
    def loss(self, embeddings, batch):
        self.newest = embeddings[1][0].mean(dim=0)
        return super().loss(embeddings, batch)

    def after_step(self, progress):
        super().after_step(progress)
        self.centre.lerp_(self.newest, 0.1)
