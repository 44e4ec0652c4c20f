"""Where autocast begins and ends. Called by `step` and by losses; evaluation runs in float32 always."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch

PRECISIONS: Final = ("float32", "bf16")

logger = logging.getLogger("sslkit")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a forward pass of this precision runs.

    Args:
        precision: `float32`, where torch lets convolutions on CUDA round what they multiply to TF32; or `bf16`:
            products in bfloat16, sums and weights in float32. There is no fp16: its loss scaler has to wait for the
            device in every step.
        device: Where the pass runs.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which nothing is rounded to half precision: outside of autocast, whatever the run's is.

    A loss lives from small differences of products, of which bfloat16 keeps two or three digits. On a device that knows
    no autocast, such as torch's meta device, where operations are counted, there is nothing to leave.

    Args:
        device: Of what is computed.
    """
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def warn_if_slow(precision: str, device: torch.device) -> None:
    """Say so when bf16 on this processor will be slower than float32."""
    if precision == "bf16" and device.type == "cpu":
        logger.warning('precision = "bf16" on a CPU can be ten times slower than "float32"')
