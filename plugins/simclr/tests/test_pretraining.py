"""SimCLR as a whole on few images: the sanity anchors of a correct implementation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from sslkit import evaluate, hookimpl, knn, linear, run

QUICKSTART = Path(__file__).parents[3] / "recipes" / "simclr_quickstart.toml"


class Losses:
    """Keeps every step's loss."""

    def __init__(self):
        self.values = []

    @hookimpl
    def sslkit_metrics(self, record):
        self.values.append(record["loss"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    losses = Losses()
    small = [
        "pretrain.epochs=5", "pretrain.batch_size=64", "pretrain.optimizer.learning_rate=2e-3",
        "pretrain.objective.temperature=0.5", "evaluate=[]",
        "pretrain.data.num_train=640", "pretrain.data.num_validation=50", "pretrain.data.num_test=99",
    ]  # fmt: skip
    info = run(QUICKSTART, overrides=small, runs=tmp_path_factory.mktemp("runs"), watchers=[losses])
    return info, losses.values


def test_the_loss_starts_near_that_of_chance_and_falls(trained):
    _, losses = trained
    # All embeddings alike give ln(2N - 1); the last BatchNorm centres z, so a fresh network is not far from it.
    assert losses[0] == pytest.approx(math.log(2 * 64 - 1), abs=0.6)
    first, last = losses[:10], losses[-10:]
    assert sum(last) / 10 < sum(first) / 10 - 0.1


def test_evaluations_leave_every_weight_and_buffer_as_it_was(trained):
    info, _ = trained
    before = {name: value.clone() for name, value in info.model.state_dict().items()}
    assert any("running_mean" in name for name in before)
    data = info.recipe.pretrain.data.build()
    results = evaluate(info.model, data, [knn(k=5), linear(epochs=2)], features=("h", "z"))
    assert [result.row()["n"] for result in results] == [99] * 4
    assert all(torch.equal(value, before[name]) for name, value in info.model.state_dict().items())
