"""A recipe of the toy components, which runs in seconds."""

from __future__ import annotations

from pathlib import Path

RECIPE = f"""
schema = 1
name = "toy"
plugins = ['{Path(__file__).parent / "toy_plugin.py"}']
[pretrain]
epochs = 2
batch_size = 16
[pretrain.data]
name = "builtin.shapes"
image_size = 16
num_train = 64
num_validation = 20
num_test = 41
[pretrain.views]
name = "local.brightness"
[pretrain.backbone]
name = "local.pooled"
[pretrain.head]
name = "local.linear"
[pretrain.objective]
name = "local.agreement"
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.1
weight_decay = 1e-4
[pretrain.schedule.learning_rate]
name = "builtin.cosine"
warmup_epochs = 1
[[evaluate]]
name = "builtin.knn"
k = 5
features = ["h", "z"]
baselines = ["random", "pixels"]
"""
