"""From data or a folder to features of frozen weights.

Enters: a `FrozenModel` and images. Leaves: float32 features on the CPU, in the order of the images. Called by
`FrozenModel.features` for evaluations, and by the `embed` command.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.bad_images import MAX_BAD_FRACTION, BadImage
from sslkit.engine.centre_crop import fit_image, fit_tensors
from sslkit.engine.chunks import WithPluginFiles, ignore_stops
from sslkit.engine.interfaces import Data, Dataset
from sslkit.errors import DataError
from sslkit.images import BadImageError, has_damaged_metadata, open_image
from sslkit.index import find_images
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.engine.frozen import FrozenModel

BATCH: Final = 256


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
    found = _run(model, dataset, skip_bad=True)
    if not found.kept:
        raise DataError(f"{folder}: holds no readable image")
    z = found.values["z"].numpy() if model.head is not None else None
    return Embedding(
        [dataset.paths[index] for index in found.kept], found.values["h"].numpy(), z, [str(bad) for bad in found.bad]
    )


def extract(model: FrozenModel, data: Data, split: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the labels of a split and everything that the model is wanted to measure, in one pass over its images.

    Raises:
        DataError: The split does not exist, is empty, or has an image that cannot be read; with
            `on_bad_image = "replace"` those are left out, and only too many of them are an error.
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
    found = _run(model, _Labelled(dataset, model.input_size), skip_bad=skip)
    model.bad_images.add(split, found.bad, len(dataset), getattr(data, "max_bad_fraction", MAX_BAD_FRACTION))
    model.bad_images.add_damaged_metadata(split, found.damaged_metadata)
    model.bad_images.log_summary(split, len(dataset), "and are left out")
    if not found.kept:
        raise DataError(f"the {split} split of {one_line(data)} holds no readable image")
    return found.values.pop("labels"), found.values


class _Item(NamedTuple):
    image: Tensor | None
    label: Any
    bad: BadImage | None = None
    damaged_metadata: bool = False


class _Found(NamedTuple):
    """What a pass over images found: positions that were read, those that were not, all measures."""

    kept: list[int]
    bad: list[BadImage]
    damaged_metadata: list[int]
    values: dict[str, Tensor]


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
            return _Item(None, -1, BadImage.of(error))
        return _Item(fit_image(image, self._size), label, damaged_metadata=has_damaged_metadata(image))


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
            return _Item(fit_image(open_image(self.folder / self.paths[index]), self.size), -1)
        except BadImageError as error:
            return _Item(None, -1, BadImage.of(error))


def _run(model: FrozenModel, dataset: _Labelled | _Files, *, skip_bad: bool) -> _Found:
    workers = model.workers if len(dataset) > BATCH else 0
    loader = DataLoader(dataset, batch_size=64, num_workers=workers, collate_fn=list, worker_init_fn=ignore_stops)
    kept: list[int] = []
    bad: list[BadImage] = []
    damaged: list[int] = []

    def batches() -> Iterator[dict[str, Tensor]]:
        position = 0
        for items in loader:
            good = [(position + number, item) for number, item in enumerate(items) if item.image is not None]
            bad.extend(item.bad for item in items if item.bad is not None)
            if bad and not skip_bad:
                raise DataError(f'{bad[0]} (or leave such images out: on_bad_image = "replace")')
            kept.extend(number for number, _ in good)
            damaged.extend(number for number, item in good if item.damaged_metadata)
            position += len(items)
            if good:
                measured = model.measure_all(torch.stack([item.image for _, item in good]))
                labels = torch.as_tensor(np.stack([np.asarray(item.label) for _, item in good]))
                yield measured | {"labels": labels}

    values = _concatenated(batches())
    return _Found(kept, bad, damaged, values)


def _concatenated(batches: Iterator[dict[str, Tensor]] | Any) -> dict[str, Tensor]:
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
