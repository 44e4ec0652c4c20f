"""From data or a folder to features of frozen weights.

Enters: a `FrozenModel` and images. Leaves: float32 features on the CPU, in the order of the images. Of several
processes, each takes every W-th image, and all get all features. Called by `FrozenModel.features` for evaluations, and
by the `embed` command.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from sslkit.engine.bad_images import MAX_BAD_FRACTION, BadImage
from sslkit.engine.centre_crop import CENTRAL_SHARE, fit_image, fit_tensors
from sslkit.engine.chunks import CHUNK, WithPluginFiles, as_labels
from sslkit.engine.distributed import from_all, rank, rows_of, world_size
from sslkit.engine.interfaces import Data, Dataset, dataset_of
from sslkit.engine.loader import Noted, between, loaded
from sslkit.errors import DataError
from sslkit.images import BadImageError, has_damaged_metadata, open_image
from sslkit.index import list_images
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
    dataset = _Folder(Path(folder))
    found = _run(model, dataset, {"h"} if model.head is None else {"h", "z"}, skip_bad=True)
    if not found.kept:
        raise DataError(f"{one_line(folder)}: holds no readable image")
    z = found.values["z"].numpy() if model.head is not None else None
    paths = [dataset.files.path(index) for index in found.kept]
    return Embedding(paths, found.values["h"].numpy(), z, [str(bad) for bad in found.bad])


def extract(model: FrozenModel, data: Data | Dataset, split: str, wanted: set[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the labels of a split, or of a whole data set, and every measure that is wanted, in one pass.

    Raises:
        DataError: The split does not exist, is empty, or has an image that cannot be read; with
            `on_bad_image = "replace"` those are left out, and only too many of them are an error.
    """
    dataset = dataset_of(data, split)
    if len(dataset) == 0:
        raise DataError(f"the {split} split of {one_line(data)} is empty")
    table = _table_of(data, split)
    if table is not None:
        own = list(range(rank(), len(table), world_size()))
        batches = (
            fit_tensors(part, model.input_size, model.central_share)
            for part in torch.split(table[rank() :: world_size()], BATCH)
        )
        labels = as_labels(getattr(dataset, "labels"))  # noqa: B009 - beside every table
        return labels, _of_all_ranks(own, _concatenated(model.measure_all(batch, wanted) for batch in batches))[1]
    skip = getattr(data, "on_bad_image", "raise") == "replace"
    found = _run(model, dataset, wanted, skip_bad=skip)
    model.bad_images.add(split, found.bad, len(dataset), getattr(data, "max_bad_fraction", MAX_BAD_FRACTION))
    model.bad_images.add_damaged_metadata(split, found.damaged_metadata)
    model.bad_images.log_summary(split, len(dataset), "and are left out")
    if not found.kept:
        raise DataError(f"the {split} split of {one_line(data)} holds no readable image")
    return found.values.pop("labels"), found.values


def fitted_batches(model: FrozenModel, data: Data, split: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images of a split as `extract` sees them, uint8 [b, C, S, S], with their labels.

    Raises:
        DataError: As `extract`.
    """
    dataset = data.split(split)
    if len(dataset) == 0:
        raise DataError(f"the {split} split of {one_line(data)} is empty")
    table = _table_of(data, split)
    if table is not None:
        labels = as_labels(getattr(dataset, "labels"))  # noqa: B009 - beside every table
        for images, of_images in zip(torch.split(table, BATCH), torch.split(labels, BATCH), strict=True):
            yield fit_tensors(images, model.input_size, model.central_share), of_images
        return
    skip_bad = getattr(data, "on_bad_image", "raise") == "replace"
    with closing(_parts(model, dataset, range(len(dataset)))) as parts:
        for part in parts:
            _require_good(part, skip_bad=skip_bad)
            if part.kept:
                yield part.images, part.labels


def fitted_images(
    data: Data, split: str, size: int, positions: Sequence[int], share: float = CENTRAL_SHARE
) -> tuple[Tensor, Tensor]:
    """Return some images of a split, scaled and cropped as evaluations see them, read in this process.

    Args:
        data: Where they are.
        split: Of which split.
        size: Side S in pixels.
        positions: Which; those that cannot be read are left out.
        share: Of the shorter side that is kept.

    Returns:
        uint8 [n, C, S, S], and their labels.

    Raises:
        DataError: There is no such split, or not one of the images can be read.
    """
    dataset = data.split(split)
    table = _table_of(data, split)
    if table is not None:
        labels = as_labels(getattr(dataset, "labels"))  # noqa: B009 - beside every table
        return fit_tensors(table[list(positions)], size, share), labels[list(positions)]
    fitted = _Fitted(dataset, size, share)
    part = _Part.of([fitted[position] for position in positions])
    if not part.kept:
        raise DataError(f"the {split} split of {one_line(data)} holds no readable image")
    return part.images, part.labels


def _table_of(data: Data | Dataset, split: str) -> Tensor | None:
    table_of = getattr(data, "table", None)
    return table_of(split) if table_of is not None else None


class _Folder:
    """The images below a folder, without labels."""

    def __init__(self, folder: Path) -> None:
        self.files = list_images(folder).distinct()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return open_image(self.files.folder / self.files.path(index)), -1


class _Item(NamedTuple):
    position: int
    image: Tensor | None
    label: Any = -1
    bad: BadImage | None = None
    damaged_metadata: bool = False


class _Part(NamedTuple):
    """Images as a worker hands them over: in one tensor, because each tensor takes a file descriptor on the way."""

    kept: list[int]
    bad: list[BadImage]
    damaged_metadata: list[int]
    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, items: list[_Item]) -> _Part:
        good = [(item, item.image) for item in items if item.image is not None]
        return cls(
            [item.position for item, _ in good],
            [item.bad for item in items if item.bad is not None],
            [item.position for item, _ in good if item.damaged_metadata],
            torch.stack([image for _, image in good]) if good else torch.empty(0),
            as_labels([item.label for item, _ in good]),
        )


class _Found(NamedTuple):
    """What a pass over images found: positions that were read, those that were not, all measures."""

    kept: list[int]
    bad: list[BadImage]
    damaged_metadata: list[int]
    values: dict[str, Tensor]


class _Fitted(WithPluginFiles, TorchDataset[_Item]):
    """Reads and fits images; one that cannot be read is an item with its reason."""

    def __init__(self, dataset: Dataset, size: int, share: float = CENTRAL_SHARE) -> None:
        self._dataset = Noted(dataset)
        self._size = size
        self._share = share

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> _Item:
        try:
            image, label = self._dataset[index]
        except BadImageError as error:
            return _Item(index, None, bad=BadImage.of(error))
        finally:
            between()
        return _Item(
            index, fit_image(image, self._size, self._share), label, damaged_metadata=has_damaged_metadata(image)
        )


def _parts(model: FrozenModel, dataset: Dataset, positions: range) -> Generator[_Part, None, None]:
    return loaded(
        _Fitted(dataset, model.input_size, model.central_share),
        dataset,
        workers=model.workers if len(dataset) > BATCH else 0,
        batch_size=CHUNK,
        sampler=positions,
        collate_fn=_Part.of,
    )


def _require_good(part: _Part, *, skip_bad: bool) -> None:
    if part.bad and not skip_bad:
        raise DataError(f'{part.bad[0]} (or leave such images out: on_bad_image = "replace")')


def _run(model: FrozenModel, dataset: Dataset, wanted: set[str], *, skip_bad: bool) -> _Found:
    parts = _parts(model, dataset, range(rank(), len(dataset), world_size()))
    found = _Found([], [], [], {})

    def batches() -> Iterator[dict[str, Tensor]]:
        for part in parts:
            _require_good(part, skip_bad=skip_bad)
            found.kept.extend(part.kept)
            found.bad.extend(part.bad)
            found.damaged_metadata.extend(part.damaged_metadata)
            if part.kept:
                yield model.measure_all(part.images, wanted) | {"labels": part.labels}

    with closing(parts):
        own = _concatenated(batches())
    kept, values = _of_all_ranks(found.kept, own)
    bad = [image for images in from_all(found.bad) for image in images]
    damaged = [index for indices in from_all(found.damaged_metadata) for index in indices]
    return _Found(kept, bad, damaged, values)


def _of_all_ranks(positions: list[int], values: dict[str, Tensor]) -> tuple[list[int], dict[str, Tensor]]:
    """Return positions and values of all ranks, in the order of the positions; a rank may have none."""
    if world_size() == 1:
        return positions, values
    forms = {name: (tuple(value.shape[1:]), value.dtype) for name, value in values.items()}
    everyone = from_all((positions, forms))
    joined = torch.tensor([position for theirs, _ in everyone for position in theirs], dtype=torch.int64)
    places = torch.split(joined.argsort().argsort(), [len(theirs) for theirs, _ in everyone])
    known = next((theirs for _, theirs in everyone if theirs), {})
    gathered = {}
    for name, (shape, dtype) in known.items():
        gathered[name] = torch.empty((len(joined), *shape), dtype=dtype)
        own = values.get(name, torch.empty((0, *shape), dtype=dtype))
        for source, rows in enumerate(places):  # one rank after the other: features may fill most of the memory
            gathered[name][rows] = rows_of(source, own, len(rows))
    return joined.sort().values.tolist(), gathered


def _concatenated(batches: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
