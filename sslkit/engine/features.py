"""From data or a folder to features of frozen weights.

Enters: a `FrozenModel` and images. Leaves: float32 features on the CPU, in the order of the images. Called by
`FrozenModel.features` for evaluations, and by the `embed` command.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.batches import WithPluginFiles, ignore_stops
from sslkit.engine.centre_crop import fit_image, fit_tensors
from sslkit.engine.interfaces import Data, Dataset
from sslkit.errors import DataError
from sslkit.images import BadImageError, find_images, open_image
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.engine.frozen import FrozenModel

BATCH: Final = 256

logger = logging.getLogger("sslkit")


class Embedding(NamedTuple):
    """Features of a folder's images.

    Attributes:
        paths: Relative to the folder, sorted.
        h: float32 [n, D].
        z: float32 [n, P], or None without a head.
        bad: One line per image that could not be read; it has no row.
    """

    paths: list[str]
    h: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32] | None
    bad: list[str]


def embed_folder(model: FrozenModel, folder: str | Path) -> Embedding:
    """Return the features of every image below a folder.

    Raises:
        DataError: There is no readable image.
    """
    dataset = _Files(Path(folder), model.input_size)
    if model.head is not None:
        model.measuring("z")
    kept, bad, values = _run(model, dataset, skip_bad=True)
    if not kept:
        raise DataError(f"{folder}: holds no readable image")
    z = values["z"].numpy() if model.head is not None else None
    return Embedding([dataset.paths[index] for index in kept], values["h"].numpy(), z, bad)


def extract(model: FrozenModel, data: Data, split: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the labels of a split and everything that the model is wanted to measure, in one pass over its images.

    Raises:
        DataError: The split does not exist, is empty, or has an image that cannot be read.
    """
    dataset = data.split(split)
    if len(dataset) == 0:
        raise DataError(f"the {split} split of {one_line(data)} is empty")
    table_of = getattr(data, "table", None)
    table = table_of(split) if table_of is not None else None
    if table is not None:
        batches = (fit_tensors(part, model.input_size) for part in table.split(BATCH))
        labels = torch.as_tensor(np.asarray(getattr(dataset, "labels")))  # noqa: B009 - beside every table
        return labels, _concatenated(model.measure_all(batch) for batch in batches)
    skip = getattr(data, "on_bad_image", "raise") == "replace"
    reader = _Labelled(dataset, model.input_size)
    _, bad, values = _run(model, reader, skip_bad=skip)
    if bad:
        logger.warning("%s split: %d unreadable images are left out, first %s", split, len(bad), bad[0])
    return values.pop("labels"), values


class _Item(NamedTuple):
    image: Tensor | None
    label: Any
    bad: str


class _Labelled(WithPluginFiles, TorchDataset[_Item]):
    """Reads and fits the images of a split; an unreadable one is an item with its reason."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self._dataset = dataset
        self._size = size

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> _Item:
        try:
            image, label = self._dataset[index]
        except BadImageError as error:
            return _Item(None, -1, one_line(error))
        return _Item(fit_image(image, self._size), label, "")


class _Files(TorchDataset[_Item]):
    """Reads and fits the images below a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.paths = find_images(folder)
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> _Item:
        try:
            return _Item(fit_image(open_image(self.folder / self.paths[index]), self.size), -1, "")
        except BadImageError as error:
            return _Item(None, -1, one_line(error))


def _run(
    model: FrozenModel, dataset: _Labelled | _Files, *, skip_bad: bool
) -> tuple[list[int], list[str], dict[str, Tensor]]:
    """Return the positions that were read, the reasons of those that were not, and all measures."""
    workers = model.workers if len(dataset) > BATCH else 0
    loader = DataLoader(dataset, batch_size=64, num_workers=workers, collate_fn=list, worker_init_fn=ignore_stops)
    kept: list[int] = []
    bad: list[str] = []

    def batches() -> Iterator[dict[str, Tensor]]:
        position = 0
        for items in loader:
            good = [(position + number, item) for number, item in enumerate(items) if item.image is not None]
            faults = [item.bad for item in items if item.image is None]
            if faults and not skip_bad:
                raise DataError(f'{faults[0]} (or leave such images out: on_bad_image = "replace")')
            bad.extend(faults)
            kept.extend(number for number, _ in good)
            position += len(items)
            if good:
                measured = model.measure_all(torch.stack([item.image for _, item in good]))
                labels = torch.as_tensor(np.stack([np.asarray(item.label) for _, item in good]))
                yield measured | {"labels": labels}

    values = _concatenated(batches())
    return kept, bad, values


def _concatenated(batches: Iterator[dict[str, Tensor]] | Any) -> dict[str, Tensor]:
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
