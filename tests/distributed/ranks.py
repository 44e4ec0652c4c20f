"""Starts a function in real processes that form one world, and brings back what each returns."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch
import torch.multiprocessing

from sslkit.engine.distributed import joined


def in_ranks(size, function, *arguments):
    """Return what `function(*arguments)` returns on each of `size` ranks; it must be a module's own function."""
    folder = Path(tempfile.mkdtemp())
    try:
        torch.multiprocessing.spawn(_be_one, (size, folder, function, arguments), nprocs=size)
        return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]
    finally:
        shutil.rmtree(folder)


def _be_one(rank, size, folder, function, arguments):
    torch.set_num_threads(1)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    os.environ |= dict(zip(names, map(str, (rank, size, rank, size)), strict=True))
    with joined(torch.device("cpu"), rendezvous=folder, timeout_seconds=60):
        torch.save(function(*arguments), folder / f"{rank}.pt")
