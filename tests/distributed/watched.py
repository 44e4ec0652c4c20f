"""A pretraining with the online callback and without, for processes of a test to import."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from sslkit import JointEmbedding, Online, Shapes, hookimpl, pretrain, rank, sgd

sys.path.insert(0, str(Path(__file__).parents[1]))

import toy_plugin


class _Head(nn.Sequential):
    out_dim = 4

    def __init__(self):
        super().__init__(nn.Linear(8, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.ReLU(), nn.Linear(6, 4))


class _Log:
    def __init__(self):
        self.records = []

    @hookimpl
    def sslkit_metrics(self, record):
        self.records.append({name: value for name, value in record.items() if name.startswith("online")})


def pretrained(watched):
    """Return the weights and what the online callback has found; it lives on the first rank only."""
    torch.manual_seed(0)
    method = JointEmbedding(toy_plugin.Pooled(), _Head(), toy_plugin.Agreement())
    data = Shapes(image_size=16, num_train=70, num_validation=20, num_test=41)
    log = _Log()
    callbacks = [Online(data, every=3, check_every=2, images=40), log] if watched else []
    pretrain(
        method, data, toy_plugin.Brightness(), sgd,
        steps=8, batch_size=16, learning_rate=0.1, workers=0, callbacks=callbacks,
    )  # fmt: skip
    return rank(), {name: value.clone() for name, value in method.state_dict().items()}, log.records
