"""Faults in what several processes do, put into the process that the function is called in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from double import three_steps

from sslkit.engine import batch_norm, distributed, step
from sslkit.engine.cached_gradients import CachedGradients
from sslkit.engine.distributed import rank, world_size


def _send_back_untied(self, embeddings, gradients, *, is_last):
    _send_back(self, embeddings, gradients, is_last=False)


def _own_moments(rows):
    return tuple(torch.batch_norm_update_stats(rows, None, None, 0.0))


def _block_of_rows(ctx, gradient):
    return gradient.chunk(world_size())[rank()] * world_size()


_send_back = CachedGradients._send_back
_alone = SimpleNamespace(all_reduce=lambda tensor: None)

FAULTS = {
    "gathered rows without the factor W": (
        distributed._GatherRows, "backward", staticmethod(lambda ctx, gradient: gradient[rank() :: world_size()])
    ),
    "gathered rows with another rank's gradient": (distributed._GatherRows, "backward", staticmethod(_block_of_rows)),
    "BatchNorm's backward without the others": (batch_norm, "dist", _alone),
    "BatchNorm with statistics of its own": (batch_norm, "_global_moments", _own_moments),
    "gradients not averaged": (step, "_averaging_gradients", lambda stage: stage),
    "the loss's parameters not tied to the last micro-batch": (CachedGradients, "_send_back", _send_back_untied),
}  # fmt: skip


def three_broken_steps(fault, *case):
    """Return what `three_steps` does with a fault; None if torch refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*FAULTS[fault])
        try:
            return three_steps(*case)
        except RuntimeError:
            return None
