"""How long something takes on a CUDA card, and how much memory. Used by the parts of `gpu`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

from sslkit import Progress

CARD = torch.device("cuda")
ROUNDS = 7
PROGRESS = Progress(1, 1000, 1000, measured=False)
Rows = list[dict[str, Any]]


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes on the card."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def in_turns(competitors: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each, over rounds in which each runs once; the first two do not count."""
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(rounds + 2):
        for name, work in competitors.items():
            taken = seconds(work)
            if number > 1:
                samples[name].append(taken)
    return {name: statistics.median(values) for name, values in samples.items()}


def peak(work: Callable[[], Any]) -> float:
    """Return the memory that something takes at its peak above what is held before, MiB."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
