"""The first steps of a shipped recipe."""

from __future__ import annotations

from pathlib import Path

import torch
from double import steps_of

from sslkit import load_recipe
from sslkit.engine.build import build

QUICKSTART = Path(__file__).parents[2] / "recipes" / "simclr_quickstart.toml"
SHORT = (
    "pretrain.epochs=1", "pretrain.batch_size=32", "pretrain.data.num_train=96", "pretrain.data.num_validation=20",
    "pretrain.data.num_test=41", "pretrain.schedule.learning_rate.warmup_epochs=0", "evaluate.0.epochs=3",
)  # fmt: skip


def quickstart_steps(dtype, count, *overrides):
    """Return losses, gradients, weights and statistics of the first steps of the quickstart, made short."""
    recipe = load_recipe(QUICKSTART, [*SHORT, *overrides])
    pretraining = build(recipe, device=torch.device("cpu"), workers=0).pretraining
    pretraining.method.to(dtype)
    pretraining.stepper.normalise = lambda images: images.to(dtype)
    pretraining.stepper.__post_init__()  # DDP has to see the precision
    return steps_of(pretraining, count)
