"""Looking at a module in the middle of its training without leaving a trace.

Enters: a module that trains. Leaves: the same module, bit for bit. Called by `online`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit import seeded


@contextmanager
def undisturbed(module: nn.Module, *, batch_statistics: bool = False) -> Iterator[None]:
    """Put a module into eval mode inside the block; modes, buffers and random generators are as before after it.

    Args:
        module: What is trained.
        batch_statistics: BatchNorm takes the statistics of the batch it is given, as in training, but keeps none: in
            the first steps its running statistics are those of no network at all. It takes those of this process: a
            callback is alone, and would wait for the others for ever.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    # A layer that keeps no statistics takes the batch's in eval mode too: on several ranks, everybody's.
    norms = [
        part for part, _ in modes if isinstance(part, _BatchNorm) and (batch_statistics or part.running_mean is None)
    ]
    kept = [(norm, norm.running_mean, norm.running_var) for norm in norms]
    handles = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    try:
        with seeded(0), torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, mean, var in kept:
            norm.running_mean, norm.running_var = mean, var
        for part, mode in modes:
            part.training = mode


def _take_statistics(norm: _BatchNorm, inputs: tuple[Any, ...]) -> None:
    rows = inputs[0].float()
    norm.running_var, norm.running_mean = torch.var_mean(rows, [0, *range(2, rows.ndim)], correction=0)
