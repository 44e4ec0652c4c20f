"""From images to what one step needs: uint8 pixels, draws, labels, on the device.

Enters: a dataset (or a resident table), the view generator, the order. Leaves: one `RawBatch` a step, the same for
any number of workers. The loader's unit is a chunk of 64 images, not a batch: large batches would otherwise need
tens of gigabytes of shared memory. Called by `pretrain`.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.bad_images import MAX_BAD_FRACTION, BadImage, BadImages
from sslkit.engine.interfaces import Data, Dataset, Views
from sslkit.engine.order import Indices, Order
from sslkit.engine.randomness import Keys, sample_keys, seeded
from sslkit.engine.stops import STOP_SIGNALS
from sslkit.errors import DataError, SslkitError
from sslkit.images import BadImageError, NoReplacementError, has_damaged_metadata, read_sample
from sslkit.registry.load import load_file, loaded_files
from sslkit.text import one_line

CHUNK: Final = 64
_WORKER_TIMEOUT_SECONDS: Final = 300  # a dead network mount must not hang a run for ever


class RawBatch(NamedTuple):
    """One step's images before the views are finished on the device.

    Attributes:
        groups: uint8 [B, v, C, S, S] per output size.
        draws: float32 [B, V, K].
        labels: int64 [B], -1 where there is none.
        indices: int64 [B].
    """

    groups: tuple[Tensor, ...]
    draws: Tensor
    labels: Tensor
    indices: Tensor


@dataclass
class Source:
    """The images that a pretraining reads.

    Attributes:
        dataset: (image, label) by index.
        table: All images as uint8 [n, C, H, W], if they are small, of one size, and the views take whole images.
        labels: int64 [n] beside the table.
        on_bad_image: `raise` or `replace`.
        max_bad_fraction: Share of the images that may be bad, 0 to 1.
    """

    dataset: Dataset
    table: Tensor | None = None
    labels: Tensor | None = None
    on_bad_image: str = "raise"
    max_bad_fraction: float = MAX_BAD_FRACTION

    @classmethod
    def of(cls, data: Data | Dataset, views: Views) -> Source:
        """Return the source of a data component's pretraining images, or of any dataset.

        Raises:
            DataError: There is no image.
        """
        # torchvision's datasets have a `split` too: a word.
        dataset: Dataset = data.split("pretrain") if callable(getattr(data, "split", None)) else data  # type: ignore[union-attr,assignment]
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
    ) -> None:
        self._source = source
        self._bad_images = bad_images or BadImages()
        self._views = views
        self._order = order
        self._device = device
        self._workers = workers
        if source.table is not None:
            self._table = source.table.to(device)

    def stream(self, start: int, end: int) -> Generator[RawBatch, None, None]:
        """Yield the batches of the steps from `start` up to, not including, `end`."""
        if self._source.table is not None:
            return (self._from_table(step) for step in range(start, end))
        return self._from_loader(start, end)

    def _keys(self, step: int) -> tuple[Keys, Indices]:
        indices = self._order.indices(step)
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
        starts = range(0, self._order.batch_size, CHUNK)
        specs = (
            (keys[first : first + CHUNK], indices[first : first + CHUNK])
            for step in range(start, end)
            for keys, indices in [self._keys(step)]
            for first in starts
        )
        waiting = max(2, -(-2 * len(starts) // max(self._workers, 1)))  # two batches in flight, over all workers
        loader = DataLoader(
            _Chunks(self._source.dataset, self._views, self._source.on_bad_image),
            batch_size=None,
            sampler=specs,
            num_workers=self._workers,
            prefetch_factor=waiting if self._workers else None,
            timeout=_WORKER_TIMEOUT_SECONDS if self._workers else 0,
            worker_init_fn=ignore_stops,
        )
        chunks = iter(loader)
        for _ in range(start, end):
            parts = [self._noted(next(chunks)) for _ in starts]
            groups = tuple(_joined(group) for group in zip(*(part.groups for part in parts), strict=True))
            yield RawBatch(
                tuple(self._upload(group) for group in groups),
                self._upload(torch.cat([part.draws for part in parts])),
                self._upload(torch.cat([part.labels for part in parts])),
                self._upload(torch.cat([part.indices for part in parts])),
            )

    def _noted(self, chunk: _Chunk | SslkitError) -> _Chunk:
        if isinstance(chunk, NoReplacementError):
            self._note(map(BadImage.of, chunk.bad))
        chunk = _raised(chunk)
        self._note(chunk.bad)
        self._bad_images.add_damaged_metadata("pretrain", chunk.damaged_metadata)
        return chunk

    def _note(self, bad: Iterable[BadImage]) -> None:
        source = self._source
        self._bad_images.add("pretrain", bad, len(source.dataset), source.max_bad_fraction)

    def _upload(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


class _Chunk(NamedTuple):
    groups: tuple[Tensor, ...]
    draws: Tensor
    labels: Tensor
    indices: Tensor
    bad: tuple[BadImage, ...]
    damaged_metadata: tuple[int, ...]


class WithPluginFiles:
    """Makes a dataset whose parts come from a recipe's plugin files known to spawned workers."""

    def __getstate__(self) -> dict[str, Any]:
        # The worker has to run the files before it can unpickle their objects.
        return {"plugins": loaded_files(), "parts": pickle.dumps(vars(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for path in state["plugins"]:
            load_file(path)
        vars(self).update(pickle.loads(state["parts"]))


class _Chunks(WithPluginFiles, TorchDataset["_Chunk | SslkitError"]):
    """What a worker runs: reads a chunk of images and prepares their views."""

    def __init__(self, dataset: Dataset, views: Views, on_bad_image: str) -> None:
        self._dataset = dataset
        self._views = views
        self._on_bad_image = on_bad_image

    def __getitem__(self, spec: tuple[Keys, Indices]) -> _Chunk | SslkitError:
        try:
            return self.chunk(*spec)
        except BadImageError as error:
            return DataError(f'{error} (or replace such images: on_bad_image = "replace")')
        except SslkitError as error:  # raised in a worker it would reach the user as a page of traceback
            return error

    def chunk(self, keys: Keys, indices: Indices) -> _Chunk:
        """Read and prepare the images of a chunk."""
        draws = self._views.draw(keys)
        samples = [
            read_sample(self._dataset, int(index), on_bad_image=self._on_bad_image, key=int(key))  # type: ignore[arg-type]
            for index, key in zip(indices, keys, strict=True)
        ]
        prepared = [self._views.prepare(sample.image, draw) for sample, draw in zip(samples, draws, strict=True)]
        return _Chunk(
            tuple(_stacked(group) for group in zip(*prepared, strict=True)),
            torch.from_numpy(draws),
            torch.as_tensor(np.stack([np.asarray(sample.label) for sample in samples])),
            torch.as_tensor([sample.index for sample in samples]),
            tuple(BadImage.of(error) for sample in samples for error in sample.bad),
            tuple(sample.index for sample in samples if has_damaged_metadata(sample.image)),
        )


def _raised(chunk: _Chunk | SslkitError) -> _Chunk:
    if isinstance(chunk, SslkitError):
        raise chunk
    return chunk


def ignore_stops(worker: int) -> None:
    """Leave stop signals, which a scheduler sends to a whole group, to the main process: it still needs its loader.

    A second one ends the worker, or a main process that has to terminate it would wait for ever.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: signal.signal(number, signal.SIG_DFL))


def _stacked(images: Sequence[Tensor]) -> Tensor:
    return _joined([image.unsqueeze(0) for image in images])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(part.shape[2:]) for part in parts}
    if len(shapes) > 1:
        sizes = " and ".join(f"{width} x {height}" for _, height, width in sorted(shapes)[:2])
        raise DataError(
            f"images of different sizes or channels cannot share a batch ({sizes} pixels): crop them in the worker "
            '(crop_on = "worker") or give them one size'
        )
    return torch.cat(list(parts))


class PreparedViews:
    """Makes a generator that has only `prepare(image) -> V images` look complete.

    Python, numpy and torch are seeded from the sample's key around each call, so its views are as repeatable as any.

    Args:
        generator: Has `prepare(image)`; may have `num_views`, else the first call tells.
    """

    def __init__(self, generator: Any) -> None:
        self._prepare: Callable[[Any], Sequence[Any]] = generator.prepare
        self.num_views: int = getattr(generator, "num_views", 2)

    def draw(self, keys: Keys) -> npt.NDArray[np.float32]:
        """Return the key itself in four parts of 16 bits, which float32 holds exactly: [B, V, 4]."""
        parts = [(keys >> np.uint64(16 * part)) & np.uint64(0xFFFF) for part in range(4)]
        draws = np.stack(parts, axis=-1).astype(np.float32)
        return np.repeat(draws[:, None], self.num_views, axis=1)

    def prepare(self, image: Any, draws: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        """Return the views, grouped by size in the order of their first view."""
        key = sum(int(part) << (16 * number) for number, part in enumerate(draws[0]))
        with seeded(key >> 1):
            views = [as_uint8(view) for view in self._prepare(image)]
        if len(views) != self.num_views:
            raise DataError(f"prepare(image) returned {len(views)} views; set num_views = {len(views)} on the class")
        sizes = list(dict.fromkeys(tuple(view.shape) for view in views))
        return tuple(torch.stack([view for view in views if tuple(view.shape) == size]) for size in sizes)

    def apply(self, groups: Sequence[Tensor], draws: Tensor) -> list[Tensor]:
        """Return the views of each group as float32 in [0, 1]."""
        return [group[:, number].float() / 255 for group in groups for number in range(group.shape[1])]


def as_uint8(image: Any) -> Tensor:
    """Return a PIL image, uint8 tensor, or float tensor in [0, 1] as uint8 [C, H, W]."""
    if isinstance(image, Image.Image):
        array = np.array(image)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    tensor = torch.as_tensor(image)
    return tensor if tensor.dtype == torch.uint8 else (tensor.clamp(0, 1) * 255).round().to(torch.uint8)


def complete_views(views: Any) -> Views:
    """Return a view generator with all three parts, whichever of the two forms it has."""
    completed: Views = views if hasattr(views, "apply") else PreparedViews(views)
    return completed


def sample_views(source: Source, views: Views, seed: int, indices: Sequence[int]) -> list[Tensor]:
    """Return the V views [B, C, h, w] of a few images on the CPU, as the first epoch would see them."""
    raw = sample_batch(source, views, seed, 0, indices)
    return views.apply(raw.groups, raw.draws)


def sample_batch(source: Source, views: Views, seed: int, epoch: int, indices: Sequence[int]) -> RawBatch:
    """Return a few images as an epoch would see them, read in this process and left on the CPU."""
    positions = np.asarray(indices, dtype=np.int64)
    chunks = _Chunks(source.dataset, views, source.on_bad_image)
    chunk = _raised(chunks[sample_keys(seed, epoch, positions), positions])
    return RawBatch(chunk.groups, chunk.draws, chunk.labels, chunk.indices)


def default_workers(device: torch.device) -> int:
    """Return how many loader processes to start when the user does not say."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8 if device.type == "cuda" else 2, cores)
