"""Row 9: a run that was stopped goes on bit for bit, whichever step it was stopped after, and stopped again."""

from __future__ import annotations

import pytest
import torch

from sslkit import hookimpl
from sslkit.engine.assemble import assemble
from sslkit.engine.pretrain import train
from sslkit.engine.stops import Stopped, Stops
from sslkit.engine.trees import flatten, optimizer_tree
from sslkit.registry.hookspecs import callback_manager

STEPS = 12


class Requests:
    """Asks for a stop after a step, as a signal does, and notes the losses."""

    def __init__(self, stops, after):
        self.stops, self.after = stops, after
        self.losses = {}

    @hookimpl
    def sslkit_step_end(self, state, metrics):
        self.losses[state.step] = float(metrics["loss"])
        if state.step == self.after:
            self.stops.requested = "SIGTERM"


def trained(toy, folder=None, *, stop_after=None, micro_batch_size=None):
    """Return all that a pretraining ends with: weights, buffers, the optimizer's state; and each step's loss."""
    parts, stops = toy(dropout=0.3), Stops()
    requests = Requests(stops, stop_after)
    settings = {**parts.settings, "micro_batch_size": micro_batch_size, "callbacks": [requests]}
    pretraining = assemble(parts.method, parts.data, parts.views, parts.optimizer, **settings)
    hooks = callback_manager(pretraining.callbacks)
    if stop_after is None:
        train(pretraining, hooks, checkpoints=folder, stops=stops)
    else:
        with pytest.raises(Stopped, match=f"after step {stop_after} of {STEPS}"):
            train(pretraining, hooks, checkpoints=folder, stops=stops)
    momenta = flatten(optimizer_tree(pretraining.stepper.optimizer, parts.method))[0]
    return {**parts.method.state_dict(), **momenta}, requests.losses


@pytest.fixture(scope="module")
def whole():
    """Uninterrupted runs, by the size of their micro-batches."""
    return {}


@pytest.mark.parametrize("micro_batch_size", [None, 8])
@pytest.mark.parametrize("step", range(1, STEPS))
def test_row_09_stopped_after_any_step_and_again_it_ends_bit_equal(toy, tmp_path, whole, step, micro_batch_size):
    if micro_batch_size not in whole:
        whole[micro_batch_size] = trained(toy, micro_batch_size=micro_batch_size)
    expected, expected_losses = whole[micro_batch_size]
    again = min(step + 3, STEPS - 1)
    losses = {}
    for stop_after in dict.fromkeys((step, again, None)):
        tensors, noted = trained(toy, tmp_path, stop_after=stop_after, micro_batch_size=micro_batch_size)
        losses |= noted
    assert losses == expected_losses
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert any("momentum" in name for name in expected)
