"""How fast do images reach the model, and how much shared memory does a large batch take?

`python benchmarks/loader.py`. A folder of JPEG files of 375 x 500 pixels is made first. Then two loader processes make
SimCLR's two views at 224 pixels: sslkit's chunks (crops in the workers; and the finished views too), and torch's
DataLoader with the transforms of lightly, torchvision v2 and albumentations, whole batches as their examples have it.
Rounds are interleaved; figures are images per second of wall time, so they ask for a quiet machine. Last, the most of
`/dev/shm` that a batch of 4096 takes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import goal, report
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from views import albumentations_of, jpeg_file

SIZE, IMAGES, BATCH, WORKERS, ROUNDS = 224, 1536, 128, 2, 3
UNTIMED = 4  # batches that the loaders have ready while the first is waited for


def main() -> int:
    """Measure, print the table, return the number of goals missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(64):  # as many as differ; the rest are copies
            content = jpeg_file(number)
            for copy in range(IMAGES // 64):
                (folder / f"{copy:03d}_{number:02d}.jpg").write_bytes(content)
        rows = speeds(folder)
        rows.append(goal("shared memory of batch 4096, GiB", shared_memory(folder, batch_size=4096), at_most=1.0))
    return report("loader", rows)


def speeds(folder: Path) -> list[dict[str, Any]]:
    """Images per second of every way to load the folder."""
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "sslkit, crops": lambda: sslkit_batches(folder, finish=False),
        "sslkit, two views": lambda: sslkit_batches(folder, finish=True),
    }
    for name, transform in peers().items():
        ways[name] = lambda transform=transform: iter(torch_loader(folder, transform))  # type: ignore[misc]
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, start in ways.items():
            stream = start()
            for _ in range(UNTIMED):
                next(stream)
            before, count = time.perf_counter(), sum(1 for _ in stream)
            samples[name].append(count * BATCH / (time.perf_counter() - before))
            del stream
    return [
        {"what": f"{name}, images/s", "value": statistics.median(values), "goal": None, "passed": None}
        for name, values in samples.items()
    ]


def sslkit_batches(folder: Path, *, finish: bool, batch_size: int = BATCH, workers: int = WORKERS) -> Iterator[Any]:
    """Yield the batches of one epoch of sslkit's loader."""
    from sslkit_simclr import TwoCrops

    from sslkit import ImageFolder
    from sslkit.engine.batches import Batches, Source, bytes_per_image, sample_batch
    from sslkit.engine.order import Order

    views = TwoCrops(image_size=SIZE)
    source = Source.of(ImageFolder(folder, labels="none"), views)
    order = Order(0, len(source.dataset), batch_size)
    image_bytes = bytes_per_image(sample_batch(source, views, 0, 0, [0]))
    batches = Batches(source, views, order, device=torch.device("cpu"), workers=workers, image_bytes=image_bytes)
    for raw in batches.stream(0, order.steps_per_epoch):
        yield views.apply(raw.groups, raw.draws) if finish else raw


def peers() -> dict[str, Callable[[Image.Image], Any]]:
    """Return the transforms of what is installed: a PIL image to two views."""
    from torchvision.transforms import v2

    second = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], 0.5),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    found: dict[str, Callable[[Image.Image], Any]] = {"torchvision v2": lambda image: [second(image), second(image)]}
    if find_spec("lightly") is not None:
        from lightly.transforms import SimCLRTransform

        found["lightly"] = SimCLRTransform(input_size=SIZE)
    if find_spec("albumentations") is not None:
        augment = albumentations_of(SIZE, blur=True)
        found["albumentations"] = lambda image: [augment(image=np.asarray(image))["image"] for _ in range(2)]
    return found


class Files(Dataset[Any]):
    """The files of a folder through a transform."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Any]) -> None:
        self.paths = sorted(folder.iterdir())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def torch_loader(folder: Path, transform: Callable[[Image.Image], Any]) -> DataLoader[Any]:
    """Return torch's loader as the peers' examples make it."""
    return DataLoader(Files(folder, transform), BATCH, shuffle=True, num_workers=WORKERS, drop_last=True)


def shared_memory(folder: Path, batch_size: int) -> float:
    """Return the most GiB of `/dev/shm` that are taken while the first batch of a size comes out of 8 workers."""
    for number in range(batch_size):  # enough files for one batch
        (folder / f"more_{number}.jpg").hardlink_to(folder / "000_00.jpg")
    free = shm_free()
    least, done = free, threading.Event()

    def watch() -> None:
        nonlocal least
        while not done.wait(0.01):
            least = min(least, shm_free())

    watcher = threading.Thread(target=watch)
    watcher.start()
    next(sslkit_batches(folder, finish=False, batch_size=batch_size, workers=8))
    done.set()
    watcher.join()
    return (free - least) / 2**30


def shm_free() -> int:
    """Return the bytes that are free in `/dev/shm`."""
    status = os.statvfs("/dev/shm")
    return status.f_bavail * status.f_frsize


if __name__ == "__main__":
    sys.exit(main())
