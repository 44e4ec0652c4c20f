"""What does NT-Xent cost on several ranks, and is it the same? `python benchmarks/ntxent_ranks.py`; takes a minute.

1, 2 and 4 processes of one machine share a global batch of 1024 images, d = 128. Time is that of forward and backward
on the slowest rank, all others working; communication is included. Equality is measured in float64: loss, and gradient
of weights averaged over ranks, against one process. The bytes that a rank receives are calculated. They compare with
the usual gather whose backward adds up the gradients of all rows on all ranks. Processes use gloo on CPUs, or a CUDA
device each where there are enough.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from common import ROUNDS, figures, goal, report
from sslkit_simclr import NTXent
from torch import Tensor, multiprocessing

from sslkit import Progress, sum_over_ranks

SIZE, DIM, NUM_VIEWS = 1024, 128, 2
WORLDS = (1, 2, 4)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "labels": {"positives": "labels"},
    "decoupled": {"decoupled": True},
    "other views": {"negatives": "other_views"},
}
UNMEASURED = Progress(1, 2, 1, measured=False)


def main() -> int:
    """Measure everything, print the table, return the number of goals missed."""
    rows, alone = [], {}
    for world in WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(measure, (world, folder), nprocs=world)
            result = json.loads((Path(folder) / "result.json").read_text())
            found = torch.load(Path(folder) / "found.pt", weights_only=True)
        rows += figures(f"W = {world}, N = {SIZE}", {"forward and backward": result["seconds"] * 1e3}, "ms")
        if world == 1:
            alone = found
            continue
        for name, values in found.items():
            error = max(((a - b).norm() / b.norm()).item() for a, b in zip(values, alone[name], strict=True))
            rows.append(goal(f"W = {world}: {name}, relative difference from one process", error, at_most=1e-10))
        rows += figures(f"W = {world}, received by a rank", received(world), "KiB a step")
    return report("ntxent_ranks", rows)


def received(world: int) -> dict[str, float]:
    """Return what a rank receives in a step, KiB."""
    others, local = world - 1, NUM_VIEWS * SIZE // world
    ours = others * (local * DIM + local + 1) * 4
    # A ring all-reduce of all rows moves them all twice.
    usual = others * local * DIM * 4 + 2 * others * local * DIM * 4
    return {"sslkit, all in forward": ours / 2**10, "gather, and all-reduce in backward": usual / 2**10}


def measure(rank: int, world: int, folder: str) -> None:
    """Be one of the processes; the first writes what was found."""
    cuda = torch.cuda.device_count() >= world
    torch.set_num_threads(max(2 // world, 1))
    if cuda:
        torch.cuda.set_device(rank)
    device = torch.device("cuda" if cuda else "cpu")
    store = f"file://{folder}/store"
    dist.init_process_group("nccl" if cuda else "gloo", store, timedelta(seconds=120), world_size=world, rank=rank)
    found = {name: step(world, rank, device, torch.float64, options) for name, options in OPTIONS.items()}
    samples = []
    for number in range(ROUNDS + 1):
        views = local_views(world, rank, device, torch.float32)
        dist.barrier()
        before = time.perf_counter()
        torch.autograd.grad(NTXent()(views, progress=UNMEASURED).loss, views)
        if cuda:
            torch.cuda.synchronize()
        seconds = torch.tensor([time.perf_counter() - before], device=device)
        dist.all_reduce(seconds, dist.ReduceOp.MAX)
        if number:
            samples.append(seconds.item())
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
        (Path(folder) / "result.json").write_text(json.dumps({"seconds": statistics.median(samples)}))
    dist.destroy_process_group()


def step(world: int, rank: int, device: torch.device, dtype: torch.dtype, options: dict[str, Any]) -> list[Tensor]:
    """Return loss and averaged gradient of weights through which all projections go."""
    weight = torch.eye(DIM, dtype=dtype, device=device, requires_grad=True)
    labels = (torch.arange(SIZE, device=device) % 7 - 1)[rank::world]
    views = [view @ weight for view in local_views(world, rank, device, dtype)]
    loss = NTXent(**options)(views, labels).loss
    (gradient,) = torch.autograd.grad(loss, weight)
    return [loss.detach().cpu(), sum_over_ranks(gradient).cpu() / world]


def local_views(world: int, rank: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return this rank's rows of two views of random images."""
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(SIZE, DIM, generator=generator, dtype=dtype)
    noise = torch.randn(NUM_VIEWS, SIZE, DIM, generator=generator, dtype=dtype)
    return [(anchors + part)[rank::world].to(device).requires_grad_() for part in noise]


if __name__ == "__main__":
    sys.exit(main())
