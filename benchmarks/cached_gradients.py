"""What does the gradient of a large batch cost in the memory of a small one? `python benchmarks/cached_gradients.py`.

Time: a step of cached gradients in K micro-batches beside plain accumulation of the same micro-batches, which embeds
once and takes the loss of each by itself: another loss, with fewer negatives, but the least that anybody could do.
ResNet-18 at 32 pixels, in turns, medians; on a CPU one thread and its processor time. Goal: at most 1.40 times as long.

Memory: how much more the process takes at its peak in a step of N images than in a step of 64, N = 256 to 4096 in
micro-batches of 64, each N in a process of its own; beside it, the batch at once. The small ResNet of the quickstart at
32 pixels. What is kept of every image, whatever the backbone, is its pixels as uint8 and a few vectors as long as h.
Goal: an image more costs at most 2 % of what it costs at once. On a CUDA card: the allocator's own figures, and a step
of ResNet-50 at 224 pixels with 4096 images.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import figures, goal, report
from sslkit_simclr import MLP, NTXent, TwoCrops

from sslkit import JointEmbedding, sample_keys, sgd, timm_backbone
from sslkit.engine.assemble import Pretraining, assemble
from sslkit.engine.batches import RawBatch
from sslkit.engine.interfaces import LossOutput, Progress

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ROUNDS = 7
MICRO_BATCH = 256 if DEVICE.type == "cuda" else 16
MEMORY_MICRO_BATCH = 64
SIZES = (256, 1024, 4096)
PROGRESS = Progress(0, 1000, 1000, measured=False)


def pretraining_of(
    model: str, batch_size: int, micro_batch_size: int | None, *, image_size: int = 32, precision: str = "float32"
) -> tuple[Pretraining, RawBatch]:
    """Return a pretraining of SimCLR on random images, and a batch of it."""
    torch.manual_seed(0)
    backbone = timm_backbone(model=model)
    views = TwoCrops(image_size=image_size, blur_probability=0.0, crop_on="device")
    images = torch.randint(0, 256, (batch_size, 3, image_size, image_size), dtype=torch.uint8)
    pretraining = assemble(
        JointEmbedding(backbone, MLP(backbone.feature_dim), NTXent()), [(image, -1) for image in images], views, sgd,
        epochs=1, batch_size=batch_size, learning_rate=0.01, micro_batch_size=micro_batch_size, workers=0,
        device=DEVICE, precision=precision,
    )  # fmt: skip
    pretraining.method.train()
    indices = torch.arange(batch_size)
    draws = torch.from_numpy(views.draw(sample_keys(0, 0, indices.numpy())))
    raw = RawBatch((images.unsqueeze(1),), draws, -torch.ones_like(indices), indices)
    on_device = (raw.groups[0].to(DEVICE),), *(tensor.to(DEVICE) for tensor in raw[1:])
    return pretraining, RawBatch(*on_device)


def accumulated(pretraining: Pretraining, raw: RawBatch, micro_batch_size: int) -> None:
    """Do a step of plain accumulation, written out."""
    stepper, method = pretraining.stepper, pretraining.method
    count = len(raw.indices) // micro_batch_size
    for number in range(count):
        part = raw.part(slice(number * micro_batch_size, (number + 1) * micro_batch_size))
        batch = stepper.make_batch(part, PROGRESS)
        loss = LossOutput.of(method.loss(method.embed(batch), batch)).loss / count
        loss.backward()  # type: ignore[no-untyped-call]
    stepper.optimizer.step()
    stepper.optimizer.zero_grad(set_to_none=True)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes on the card, or the processor time of this process."""
    if DEVICE.type == "cpu":
        before = time.process_time()
        work()
        return time.process_time() - before
    torch.cuda.synchronize()
    before = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - before


def time_of(count: int) -> Iterator[dict[str, Any]]:
    """Yield the times for K micro-batches, and their ratio."""
    pretraining, raw = pretraining_of("resnet18", count * MICRO_BATCH, MICRO_BATCH)
    competitors: dict[str, Callable[[], Any]] = {
        "plain accumulation": lambda: accumulated(pretraining, raw, MICRO_BATCH),
        "cached gradients": lambda: pretraining.stepper.step(raw, PROGRESS),
    }
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(ROUNDS + 1):
        for name, work in competitors.items():
            taken = seconds(work)
            if number:
                samples[name].append(taken)
    what = f"ResNet-18, {count} micro-batches of {MICRO_BATCH}"
    yield from figures(what, {name: statistics.median(values) for name, values in samples.items()}, "s per step")
    plain, cached = samples.values()
    ratio = statistics.median(mine / other for mine, other in zip(cached, plain, strict=True))
    yield goal(f"{what}: cached / plain accumulation", ratio, at_most=1.4)


def peak_of(batch_size: int, micro_batch_size: int | None) -> float:
    """Return by how many MiB the peak of a step lies above that of a step with 64 images, in this process."""
    pretraining, raw = pretraining_of("test_resnet", batch_size, micro_batch_size)
    accumulated(pretraining, raw.part(slice(0, MEMORY_MICRO_BATCH)), MEMORY_MICRO_BATCH)
    before = _peak()
    pretraining.stepper.step(raw, PROGRESS)
    return (_peak() - before) / 2**20


def _peak() -> int:
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # the other figure begins with the parent's there
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory() -> Iterator[dict[str, Any]]:
    """Yield the peaks of all sizes, and what an image more costs."""
    per_image = {}
    ways = {"in micro-batches of 64": (MEMORY_MICRO_BATCH, SIZES), "at once": (0, SIZES[:2])}
    for name, (micro_batch_size, sizes) in ways.items():
        # Freed memory goes back at once: the peak is that of what lives.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        peaks = {}
        for size in sizes:
            command = [sys.executable, __file__, "--peak", str(size), str(micro_batch_size)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            peaks[size] = float(done.stdout)
        yield from figures(f"peak above a step of 64, {name}", {f"N = {size}": peaks[size] for size in sizes}, "MiB")
        per_image[name] = (peaks[sizes[-1]] - peaks[sizes[0]]) / (sizes[-1] - sizes[0])
    yield from figures("an image more", per_image, "MiB")
    cut, at_once = per_image.values()
    yield goal("an image more: in micro-batches / at once", cut / at_once, at_most=0.02)


def largest() -> Iterator[dict[str, Any]]:
    """Yield figures of ResNet-50 at 224 pixels and batch 4096, on a card."""
    pretraining, raw = pretraining_of("resnet50", 4096, 128, image_size=224, precision="bf16")
    work: Callable[[], Any] = lambda: pretraining.stepper.step(raw, PROGRESS)  # noqa: E731
    work()
    torch.cuda.reset_peak_memory_stats()
    taken = statistics.median(seconds(work) for _ in range(3))
    what = {"s per step": taken, "images per s": 4096 / taken, "GiB at its peak": _peak() / 2**30}
    for unit, value in what.items():
        yield from figures("ResNet-50, 224 px, bf16, batch 4096", {"in micro-batches of 128": value}, unit)


def main() -> int:
    """Measure everything, or one peak for the process that asked."""
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--peak"]:
        print(peak_of(int(sys.argv[2]), int(sys.argv[3]) or None))
        return 0
    rows = [row for count in (4, 8, 16) for row in time_of(count)]
    rows += memory()
    if DEVICE.type == "cuda":
        rows += largest()
    return report("cached_gradients", rows)


if __name__ == "__main__":
    sys.exit(main())
