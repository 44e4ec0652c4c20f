from __future__ import annotations

import numpy as np
import pytest

from sslkit import hookimpl
from sslkit.engine.assemble import assemble
from sslkit.engine.order import Order
from sslkit.engine.pretrain import train
from sslkit.engine.spikes import Spikes
from sslkit.registry.hookspecs import callback_manager


class Named:
    def describe(self, index):
        return f"/photos/{index}.jpg"


def looked(losses, caplog, dataset=None):
    """Return what is said about a curve, whose steps count from 1."""
    spikes = Spikes(Order(0, 6400, 64), dataset or Named())
    caplog.clear()
    for step, loss in enumerate(losses, start=1):
        spikes.look({"step": step, "loss": float(loss)})
    return [record.getMessage() for record in caplog.records]


def curve(seed, steps=1000):
    """Return a loss like NT-Xent's: up a little in the warm-up, down, then flat; its noise shrinks with it."""
    step = np.arange(steps)
    noise = np.random.default_rng(seed).normal(size=steps)
    return (
        4.5
        + 2.5 * np.exp(-step / 150)
        + 0.3 * np.exp(-(((step - 15) / 10) ** 2))
        + noise * (0.05 + 0.1 / (1 + step / 50))
    )


@pytest.mark.parametrize("seed", range(5))
def test_row_22_an_ordinary_curve_raises_no_alarm(seed, caplog):
    assert looked(curve(seed), caplog) == []


@pytest.mark.parametrize("losses", [np.full(300, 4.2), np.zeros(300), np.linspace(7, 1, 300), np.linspace(1, 2, 300)])
def test_row_22_neither_do_constant_falling_and_slowly_rising_losses(losses, caplog):
    assert looked(losses, caplog) == []


def test_row_22_rounding_on_a_flat_curve_is_no_spike(caplog):
    assert looked(4.2 + 1e-6 * np.random.default_rng(0).normal(size=500), caplog) == []
    assert looked([4.2] * 60 + [4.2001] * 60, caplog) == []


def test_row_22_a_spike_is_told_with_step_range_and_images(caplog):
    losses = curve(0)
    losses[499] = 9.0
    (said,) = looked(losses, caplog)
    indices = Order(0, 6400, 64).indices(499)
    named = ", ".join(f"/photos/{index}.jpg" for index in indices[:5])
    assert said.startswith("step 500: the loss is 9, where 4.")
    assert said.endswith(f" is usual; its 64 images: {named}, ...")


def test_row_22_images_without_names_are_numbered(caplog):
    losses = [4.0, 4.1] * 15 + [50.0]
    (said,) = looked(losses, caplog, dataset=[None] * 6400)
    assert f"its 64 images: image {Order(0, 6400, 64).indices(30)[0]}, " in said


def test_row_22_a_lasting_rise_is_told_once_and_another_spike_again(caplog):
    losses = curve(1)
    losses[300:] += 20
    losses[600] = 99
    assert [line.partition(":")[0] for line in looked(losses, caplog)] == ["step 301", "step 601"]


def test_row_22_the_first_steps_raise_no_alarm(caplog):
    assert looked([1.0] * 19 + [100.0], caplog) == []
    assert len(looked([1.0] * 20 + [100.0], caplog)) == 1


def test_row_22_a_real_pretraining_raises_no_alarm(toy, caplog):
    class Losses:
        def __init__(self):
            self.all = []

        @hookimpl
        def sslkit_metrics(self, record):
            self.all.append(record["loss"])

    log, parts = Losses(), toy()
    pretraining = assemble(
        parts.method, parts.data, parts.views, parts.optimizer, callbacks=[log], **parts.settings | {"epochs": 40}
    )
    train(pretraining, callback_manager(pretraining.callbacks))
    assert len(log.all) == 160
    assert looked(log.all, caplog) == []
    spoiled = [*log.all[:80], 10 * max(log.all), *log.all[80:]]
    assert len(looked(spoiled, caplog)) == 1
