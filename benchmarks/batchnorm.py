"""What does BatchNorm over all ranks cost? `python benchmarks/batchnorm.py`, a minute.

The training step of SimCLR with ResNet-18 at 32 pixels in two processes: with sslkit's BatchNorm across ranks, beside
BatchNorm that takes each rank's own statistics, in turns in the same processes, medians of wall time. On CPUs over
gloo, two processes with one thread each; with two CUDA cards over NCCL, and beside torch's own SyncBatchNorm, which
refuses CPUs. Goal on CUDA: no slower than torch's. On CPUs a figure only: it says little about a network.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing
from common import figures, goal, report
from sslkit_simclr import MLP, NTXent, TwoCrops
from torch import nn

from sslkit import JointEmbedding, Shapes, sgd, timm_backbone
from sslkit.engine.assemble import assemble
from sslkit.engine.batch_norm import across_ranks
from sslkit.engine.distributed import joined
from sslkit.engine.interfaces import Progress

ON_CARDS = torch.cuda.device_count() >= 2
ROUNDS = 15
BATCH_SIZE = 1024 if ON_CARDS else 64
DATA = Shapes(num_train=BATCH_SIZE, num_validation=10, num_test=10)
VIEWS = TwoCrops(image_size=32, blur_probability=0.0, crop_on="device")


def with_torchs_own(method: nn.Module, *, but: nn.Module | None) -> None:
    """Exchange every BatchNorm for torch's across ranks."""
    method.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(method.backbone)
    method.head = nn.SyncBatchNorm.convert_sync_batchnorm(method.head)


def step_with(conversion: Callable[[Any], Any], device: torch.device) -> Callable[[], Any]:
    """Return a function that does a step of a method whose BatchNorm layers a conversion has seen."""
    torch.manual_seed(0)
    backbone = timm_backbone(model="resnet18")
    method = JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent())
    with mock.patch("sslkit.engine.assemble.across_ranks", conversion):
        pretraining = assemble(
            method, DATA, VIEWS, sgd, epochs=1, batch_size=BATCH_SIZE, learning_rate=0.01, workers=0, device=device
        )
    method.train()
    raw = next(pretraining.batches.stream(0, 1))
    return lambda: pretraining.stepper.step(raw, Progress(0, 1000, 1000, measured=False))


def measured(device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each competitor's steps, on one rank."""
    competitors = {
        "own statistics": step_with(lambda method, *, but: None, device),
        "across ranks": step_with(across_ranks, device),
    }
    if device.type == "cuda":
        competitors["torch's SyncBatchNorm"] = step_with(with_torchs_own, device)
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(ROUNDS + 2):
        for name, step in competitors.items():
            dist.barrier()
            before = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number > 1:
                samples[name].append(time.perf_counter() - before)
    return samples


def be_one(rank: int, folder: str) -> None:
    """Be one of the two processes; the first one writes what it measured."""
    torch.set_num_threads(1)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    os.environ |= dict(zip(names, map(str, (rank, 2, rank, 2)), strict=True))
    device = torch.device(f"cuda:{rank}" if ON_CARDS else "cpu")
    if ON_CARDS:
        torch.cuda.set_device(device)
    with joined(device, rendezvous=Path(folder)):
        samples = measured(device)
        if rank == 0:
            torch.save(samples, Path(folder) / "samples.pt")


def main() -> int:
    """Start two processes and compare."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(be_one, (folder,), nprocs=2)
        samples = torch.load(Path(folder) / "samples.pt")
    medians = {name: statistics.median(values) for name, values in samples.items()}
    what = f"ResNet-18, 32 px, batch {BATCH_SIZE} on 2 ranks"
    rows = figures(what, medians, "s per step")
    rows += figures(
        what, {"across ranks / own statistics": medians["across ranks"] / medians["own statistics"]}, "ratio"
    )
    if ON_CARDS:
        ratio = medians["across ranks"] / medians["torch's SyncBatchNorm"]
        rows.append(goal("across ranks / torch's SyncBatchNorm", ratio, at_most=1.0))
    return report("batchnorm", rows)


if __name__ == "__main__":
    sys.exit(main())
