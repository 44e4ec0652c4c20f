"""Of the kind evaluation, each wrong in one thing."""

import torch
from right_toys.centroids import centroids

from sslkit import Outcome


def _changed(change):
    right = centroids()

    def evaluate(pretrained, data):
        return change(right(pretrained, data), pretrained)

    return evaluate


def nameless():
    return _changed(lambda outcome, pretrained: Outcome("accuracy", outcome.metrics))


def tensors():
    return _changed(lambda outcome, pretrained: Outcome("top1", {"top1": torch.tensor(outcome.metrics["top1"])}))


def lists():
    return _changed(lambda outcome, pretrained: Outcome("top1", outcome.metrics, {"predicted": [1, 2]}))


def dice():
    return _changed(lambda outcome, pretrained: Outcome("top1", {"top1": torch.rand(()).item()}))


def training():
    def train(outcome, pretrained):
        pretrained.backbone.train()
        pretrained.backbone(torch.rand(8, 3, 32, 32))
        pretrained.backbone.eval()
        return outcome

    return _changed(train)
