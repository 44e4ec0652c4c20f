"""Numbers on their way from the device to the log, without making the device wait.

Enters: scalars on the device, one set a step. Leaves: records of floats, in order, some steps later. Called by
`pretrain`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class _Pending:
    known: dict[str, float]
    names: list[str]
    values: Tensor
    ready: torch.cuda.Event | None


class MetricRing:
    """A queue of records whose values are still being computed.

    On CUDA the scalars of a step are stacked and copied to pinned memory behind an event; a record leaves when its
    event has passed. On a CPU it can leave at once.

    Args:
        device: Where the scalars live.
        capacity: Records that may wait; beyond it, the oldest is waited for.
    """

    def __init__(self, device: torch.device, capacity: int = 16) -> None:
        self._device = device
        self._capacity = capacity
        self._pending: deque[_Pending] = deque()

    def push(self, known: Mapping[str, float], scalars: Mapping[str, Tensor]) -> None:
        """Add one step's record.

        Args:
            known: Numbers that the host has already.
            scalars: 0-dimensional tensors on the device; a callback may have added numbers.
        """
        names = list(scalars)
        values = [torch.as_tensor(value, dtype=torch.float32, device=self._device) for value in scalars.values()]
        stacked = torch.stack([value.detach().reshape(()) for value in values])
        ready = None
        if self._device.type == "cuda":
            host = torch.empty(len(names), dtype=torch.float32, pin_memory=True)
            host.copy_(stacked, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(torch.cuda.current_stream(self._device))
            stacked = host
        self._pending.append(_Pending(dict(known), names, stacked, ready))

    def drain(self, *, wait: bool = False) -> Iterator[dict[str, float]]:
        """Yield the records that have arrived, oldest first.

        Args:
            wait: Wait for all of them.
        """
        while self._pending:
            first = self._pending[0]
            if first.ready is not None and not first.ready.query():  # type: ignore[no-untyped-call]
                if not wait and len(self._pending) <= self._capacity:
                    return
                first.ready.synchronize()
            self._pending.popleft()
            yield first.known | dict(zip(first.names, first.values.tolist(), strict=True))
