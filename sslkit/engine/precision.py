"""Where autocast begins and ends. Called by `step` and by losses; evaluation runs in float32 always."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

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


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in full precision inside, whatever the run's is: no autocast; float32 products without TF32 or bfloat16.

    A loss lives from small differences of products, of which bfloat16 keeps two or three digits: at temperature 0.05
    the gradient of NT-Xent is off by 4 %. Of torch's two sets of switches only the newer is touched; a mixture of both
    makes torch raise. A device that knows no autocast, such as torch's meta device, where operations are counted, has
    nothing to leave.

    Args:
        device: Of what is computed.
    """
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    knows_autocast = torch.amp.is_autocast_available(device.type)
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False) if knows_autocast else nullcontext():
            yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def warn_if_slow(precision: str, device: torch.device) -> None:
    """Say so when bf16 on this processor will be slower than float32."""
    if precision == "bf16" and device.type == "cpu":
        logger.warning('precision = "bf16" on a CPU can be ten times slower than "float32"')
