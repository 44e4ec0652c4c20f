"""A pretraining in float32 that can be told to stop, and notes what each of its steps saw."""

from __future__ import annotations

import os
import signal

import torch
from double import Network, Shifts, head_of
from sslkit_simclr import NTXent

from sslkit import JointEmbedding, Shapes, cosine
from sslkit.builtin.optimizers.sgd import sgd
from sslkit.engine.assemble import assemble
from sslkit.engine.distributed import rank, world_size
from sslkit.engine.pretrain import train
from sslkit.engine.stops import Stopped, Stops
from sslkit.registry.hookspecs import callback_manager


def pretrained(folder, stop_in, micro_batch_size):
    """Go on with the pretraining in a folder to its end, or until the last rank is sent a signal.

    Args:
        folder: Of checkpoints.
        stop_in: The step in which the signal comes, from 0.
        micro_batch_size: As in a recipe.

    Returns:
        For each step its indices and rate, as (step, [B], rate); all weights and buffers, before and after.
    """
    torch.manual_seed(0)
    method = JointEmbedding(Network(norm=True), head_of(), NTXent(temperature=0.5))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    data = Shapes(image_size=16, num_train=60, num_validation=20, num_test=20)
    pretraining = assemble(
        method, data, Shifts(), sgd, epochs=3, batch_size=12, learning_rate=0.01, weight_decay=1e-3,
        schedules={"learning_rate": cosine(warmup_epochs=1)}, micro_batch_size=micro_batch_size, workers=0,
        checkpoint_every_epochs=100,
    )  # fmt: skip
    seen = []
    step = pretraining.stepper.step

    def noted(raw, progress):
        if progress.step == stop_in and rank() == world_size() - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        found = step(raw, progress)
        seen.append((progress.step, raw.indices.tolist(), pretraining.stepper.optimizer.param_groups[0]["lr"]))
        return found

    pretraining.stepper.step = noted
    with Stops() as stops:
        try:
            train(pretraining, callback_manager([]), checkpoints=folder, stops=stops)
            assert stop_in is None
        except Stopped:
            assert stop_in is not None
    return seen, before, dict(method.state_dict())
