"""From images to what one step needs: uint8 pixels, draws, labels, on the device.

Enters: a dataset (or a resident table), the view generator, the order. Leaves: one `RawBatch` a step, the same for
any number of workers; of several processes, each gets its rows of the global batch. The loader's unit is a chunk of 64
images, not a batch: large batches would otherwise need tens of gigabytes of shared memory. Called by `pretrain`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sslkit.engine.bad_images import MAX_BAD_FRACTION, BadImage, BadImages
from sslkit.engine.chunks import CHUNK, Chunk, Chunks, require_one_shape
from sslkit.engine.distributed import World, rank, world_size
from sslkit.engine.interfaces import Data, Dataset, Views, dataset_of
from sslkit.engine.loader import loaded
from sslkit.engine.order import Indices, Order
from sslkit.engine.randomness import Keys, sample_keys
from sslkit.errors import DataError, RunError, SslkitError
from sslkit.images import NoReplacementError
from sslkit.text import one_line

_SHARED_BYTES: Final = 512 * 2**20  # what chunks in flight may take of the shared memory
_SHARED_MEMORY: Final = Path("/dev/shm")


class RawBatch(NamedTuple):
    """One step's images before the views are finished on the device.

    Attributes:
        groups: uint8 [B, v, C, S, S] per output size.
        draws: float32 [B, V, K].
        labels: int64 [B], -1 where there is none; or int8 [B, classes].
        indices: int64 [B].
    """

    groups: tuple[Tensor, ...]
    draws: Tensor
    labels: Tensor
    indices: Tensor

    def part(self, rows: slice) -> RawBatch:
        """Return some of the images."""
        draws, labels, indices = (tensor[rows] for tensor in (self.draws, self.labels, self.indices))
        return RawBatch(tuple(group[rows] for group in self.groups), draws, labels, indices)


@dataclass
class Source:
    """The images that a pretraining reads.

    Attributes:
        dataset: (image, label) by index.
        table: All images as uint8 [n, C, H, W], if they are small, of one size, and the views take whole images.
        labels: int64 [n] beside the table.
        on_bad_image: `raise` or `replace`.
        max_bad_fraction: Share of the images that may be bad, 0 to 1.
        class_names: In the order of their numbers, if there are classes.
    """

    dataset: Dataset
    table: Tensor | None = None
    labels: Tensor | None = None
    on_bad_image: str = "raise"
    max_bad_fraction: float = MAX_BAD_FRACTION
    class_names: Sequence[str] | None = None

    @classmethod
    def of(cls, data: Data | Dataset, views: Views) -> Source:
        """Return the source of a data component's pretraining images, or of any dataset.

        Raises:
            DataError: There is no image, or this is no data set.
        """
        if isinstance(data, str | Path):
            raise DataError(f"{data} is the name of a folder; open it: sslkit.ImageFolder({str(data)!r})")
        if isinstance(data, DataLoader):
            raise DataError("a DataLoader has batches already; give its dataset: loader.dataset")
        dataset = dataset_of(data, "pretrain")
        if len(dataset) == 0:
            raise DataError(f"{one_line(data)}: there is no image to pretrain on")
        table_of = getattr(data, "table", None)
        table = table_of("pretrain") if table_of is not None and getattr(views, "whole_images", False) else None
        labels = None
        if table is not None:
            known = getattr(dataset, "labels", None)
            labels = torch.full((len(table),), -1) if known is None else torch.as_tensor(known, dtype=torch.int64)
        return cls(
            dataset,
            table,
            labels,
            getattr(data, "on_bad_image", "raise"),
            getattr(data, "max_bad_fraction", MAX_BAD_FRACTION),
            getattr(data, "class_names", None),
        )


class Batches:
    """The stream of a pretraining's batches.

    Args:
        source: The images.
        views: The view generator, complete or `prepare` only.
        order: Which images each step sees.
        device: Where batches arrive.
        workers: Loader processes; 0 loads in this process; ignored with a resident table.
        bad_images: Takes note of those that cannot be read.
        image_bytes: Of one prepared image: with it, workers prepare no more ahead than shared memory holds.
        timeout_seconds: How long a worker may take before the images that all of them are at are named; None chooses.

    Raises:
        RunError: The shared memory does not hold one chunk per worker.
    """

    def __init__(
        self,
        source: Source,
        views: Views,
        order: Order,
        *,
        device: torch.device,
        workers: int = 0,
        bad_images: BadImages | None = None,
        image_bytes: int = 1,
        timeout_seconds: float | None = None,
    ) -> None:
        self._source = source
        self._bad_images = bad_images or BadImages()
        self._views = views
        self._order = order
        self._device = device
        self._workers = workers
        self._timeout_seconds = timeout_seconds
        self._batch_size = order.batch_size // world_size()
        self._prefetch: int | None = None
        if workers and source.table is None:
            self._prefetch = _prefetch(CHUNK * image_bytes, -(-self._batch_size // CHUNK), workers)
        if source.table is not None:
            self._table = source.table.to(device)

    def stream(self, start: int, end: int) -> Generator[RawBatch, None, None]:
        """Yield the batches of the steps from `start` up to, not including, `end`."""
        if self._source.table is not None:
            return (self._from_table(step) for step in range(start, end))
        return self._from_loader(start, end)

    def _keys(self, step: int) -> tuple[Keys, Indices]:
        indices = self._order.indices(step)[rank() :: world_size()]
        return sample_keys(self._order.seed, self._order.epoch_of(step), indices), indices

    def _from_table(self, step: int) -> RawBatch:
        assert self._source.labels is not None
        keys, indices = self._keys(step)
        positions = torch.from_numpy(indices)
        draws = torch.from_numpy(self._views.draw(keys))
        chosen = self._table.index_select(0, self._upload(positions))
        return RawBatch(
            (chosen.unsqueeze(1),),
            self._upload(draws),
            self._upload(self._source.labels[positions]),
            self._upload(positions),
        )

    def _from_loader(self, start: int, end: int) -> Generator[RawBatch, None, None]:
        starts = range(0, self._batch_size, CHUNK)
        specs = (
            (keys[first : first + CHUNK], indices[first : first + CHUNK])
            for step in range(start, end)
            for keys, indices in [self._keys(step)]
            for first in starts
        )
        chunks = loaded(
            Chunks(self._source.dataset, self._views, self._source.on_bad_image),
            self._source.dataset,
            workers=self._workers,
            timeout_seconds=self._timeout_seconds,
            batch_size=None,
            sampler=specs,
            prefetch_factor=self._prefetch,
        )
        with closing(chunks):
            for _ in range(start, end):
                batch = _Gathered(self._batch_size, pinned=self._device.type == "cuda")
                for first in starts:
                    batch.put(first, self._noted(next(chunks)))
                yield RawBatch(
                    tuple(self._upload(group) for group in batch.groups),
                    *(self._upload(tensor) for tensor in batch.rest),
                )

    def _noted(self, chunk: Chunk | SslkitError) -> Chunk:
        if isinstance(chunk, NoReplacementError):
            self._note(map(BadImage.of, chunk.bad))
        if isinstance(chunk, SslkitError):
            raise chunk
        self._note(chunk.bad)
        self._bad_images.add_damaged_metadata("pretrain", chunk.damaged_metadata)
        return chunk

    def share_bad_images(self) -> None:
        """Let every rank know of the images that any of them could not read; all ranks must come here."""
        source = self._source
        self._bad_images.share("pretrain", len(source.dataset), source.max_bad_fraction)

    def _note(self, bad: Iterable[BadImage]) -> None:
        source = self._source
        self._bad_images.add("pretrain", bad, len(source.dataset), source.max_bad_fraction)

    def _upload(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
        return pinned.to(self._device, non_blocking=True)


class _Gathered:
    """A batch that chunks are copied into as they arrive, so that their shared memory is free again at once."""

    def __init__(self, batch_size: int, *, pinned: bool) -> None:
        self._batch_size = batch_size
        self._pinned = pinned
        self.groups: tuple[Tensor, ...] = ()
        self.rest: tuple[Tensor, ...] = ()  # draws, labels, indices

    def put(self, first: int, chunk: Chunk) -> None:
        """Copy a chunk to its place, from position `first` on."""
        rest = (chunk.draws, chunk.labels, chunk.indices)
        if not self.groups:
            self.groups = tuple(map(self._room_for, chunk.groups))
            self.rest = tuple(map(self._room_for, rest))
        for group, part in zip(self.groups, chunk.groups, strict=True):
            require_one_shape((group.shape[1:], part.shape[1:]))
        for tensor, part in zip((*self.groups, *self.rest), (*chunk.groups, *rest), strict=True):
            tensor[first : first + len(part)] = part

    def _room_for(self, part: Tensor) -> Tensor:
        return torch.empty((self._batch_size, *part.shape[1:]), dtype=part.dtype, pin_memory=self._pinned)


def _prefetch(chunk_bytes: int, chunks_per_batch: int, workers: int) -> int:
    """Return how many chunks each worker prepares ahead: two batches in all, as far as shared memory allows.

    The processes of one machine share its memory evenly.

    Raises:
        RunError: There is not room for one each.
    """
    processes = World.of_environment().local_size
    free = 2 * _SHARED_BYTES
    if _SHARED_MEMORY.is_dir():  # elsewhere there is no such limit
        status = os.statvfs(_SHARED_MEMORY)
        free = status.f_bavail * status.f_frsize // processes
    affordable = min(_SHARED_BYTES // processes, free // 2) // (workers * chunk_bytes)
    if affordable == 0 and workers * chunk_bytes > free:
        raise RunError(
            f"{workers} loader processes need {workers * chunk_bytes / 2**20:.0f} MiB of shared memory, but "
            f"{_SHARED_MEMORY} has {free / 2**20:.0f} MiB free; start fewer with --workers, or enlarge it "
            "(docker run --shm-size=2g)"
        )
    return max(1, min(affordable, -(-2 * chunks_per_batch // workers)))


def bytes_per_image(raw: RawBatch) -> int:
    """Return the bytes of one image as it leaves a worker."""
    return sum(group[0].numel() for group in raw.groups)


def sample_views(source: Source, views: Views, seed: int, indices: Sequence[int]) -> list[Tensor]:
    """Return the V views [B, C, h, w] of a few images on the CPU, as the first epoch would see them."""
    raw = sample_batch(source, views, seed, 0, indices)
    return views.apply(raw.groups, raw.draws)


def sample_batch(source: Source, views: Views, seed: int, epoch: int, indices: Sequence[int]) -> RawBatch:
    """Return a few images as an epoch would see them, read in this process and left on the CPU."""
    positions = np.asarray(indices, dtype=np.int64)
    chunk = Chunks(source.dataset, views, source.on_bad_image)[sample_keys(seed, epoch, positions), positions]
    if isinstance(chunk, SslkitError):
        raise chunk
    return RawBatch(chunk.groups, chunk.draws, chunk.labels, chunk.indices)


def default_workers(device: torch.device) -> int:
    """Return how many loader processes each training process starts when the user does not say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8 if device.type == "cuda" else 2, max(1, cores // World.of_environment().local_size))
