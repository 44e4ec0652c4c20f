"""The small sets of the field, read from disk in the layouts that people have: CIFAR, STL-10, Imagenette.

Enters: a folder that holds the set, already downloaded. Leaves: data sets of (image, label) with the official
class numbers. Called by the engine for the recipe's data tables. Nothing is downloaded, and nothing that is
read gets executed: CIFAR's Python batches go through `arrays_only`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit import AbsentError, BadImageError, DataError, Nominal, did_you_mean, one_line
from sslkit.builtin.data.arrays_only import load_arrays
from sslkit.builtin.data.class_names import CIFAR10, CIFAR100, IMAGENETTE, STL10
from sslkit.builtin.data.image_folder import ImageFiles, ImageFolder
from sslkit.builtin.data.tables import ImageTable

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]
Reader: TypeAlias = Callable[[str], tuple[Pixels, Labels]]

_SPLITS = ("pretrain", "train", "test")
CIFAR_SIDE, _STL_SIDE = 32, 96  # pixels

# Of each set: training, unlabelled and test images. Source: their web pages; Imagenette's, of its second version.
_NUMBERS = {
    "cifar10": (50_000, 0, 10_000),
    "cifar100": (50_000, 0, 10_000),
    "stl10": (5_000, 100_000, 8_000),
    "imagenette": (9_469, 0, 3_925),
}

# Of each CIFAR: folders it is unpacked into, files of the train and the test split without suffix, key of the
# labels in a Python batch, label bytes before the pixels of a binary record (the last one counts).
_CIFAR: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str, int]] = {
    "cifar10": (
        ("cifar-10-batches-py", "cifar-10-batches-bin"),
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
        "labels",
        1,
    ),
    "cifar100": (("cifar-100-python", "cifar-100-binary"), ("train",), ("test",), "fine_labels", 2),
}
_CLASS_NAMES = {
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "stl10": STL10,
    "imagenette": tuple(IMAGENETTE.values()),
}


class TorchvisionSets:
    """CIFAR-10, CIFAR-100, STL-10 or Imagenette, from files that are already there.

    The folder is the set's own or the one above it. Layouts: CIFAR as Python batches, as binary files, or as
    images in `train/` and `test/` with a folder per class; STL-10 as binary files; Imagenette as it comes, with
    its `val/` as the test split. Classes always have their official numbers. CIFAR and STL-10 are read whole,
    once per split. There is no validation split.

    Args:
        root: The folder.
        dataset: Which set it holds.
        pretrain_on: What pretraining uses of STL-10: `train`, `unlabelled`, or `all`, which is both as far as
            they are there. The other sets have labelled images only, and both `all` and `train` mean them.

    Attributes:
        name: Which set it is.
        num_classes: Number of classes.
        class_names: Their official names, in official order.

    Raises:
        AbsentError: The folder does not hold the set in a known layout.
        DataError: What it holds is damaged.
    """

    def __init__(
        self,
        root: Path,
        *,
        dataset: Literal["cifar10", "cifar100", "stl10", "imagenette"],
        pretrain_on: Literal["train", "unlabelled", "all"] = "all",
    ) -> None:
        if pretrain_on == "unlabelled" and dataset != "stl10":
            raise DataError(f'{dataset} has no unlabelled images; set `pretrain_on = "train"`')
        self.class_names = _CLASS_NAMES[dataset]
        self.num_classes = len(self.class_names)
        self._dataset = self.name = dataset
        self._pretrain_on = pretrain_on
        self._read: dict[str, ImageTable | ImageFiles] = {}
        self._reader: Reader | None = None
        if dataset == "stl10":
            self._reader = _stl10(Path(root), pretrain_on)
        elif dataset == "imagenette":
            self._folder = _imagenette(Path(root))
        else:
            self._reader = _cifar(Path(root), dataset)

    @staticmethod
    def nominal(options: Mapping[str, Any]) -> Nominal:
        """Return how many images a set has, whether it is here or not."""
        name = options["dataset"]
        train, unlabelled, test = _NUMBERS[name]
        pretrain = {"train": train, "unlabelled": unlabelled, "all": train + unlabelled}[options["pretrain_on"]]
        side = {"stl10": _STL_SIDE, "imagenette": None}.get(name, CIFAR_SIDE)
        return Nominal({"pretrain": pretrain, "train": train, "test": test}, len(_CLASS_NAMES[name]), side, name)

    def split(self, name: str) -> ImageTable | ImageFiles:
        """Return the split `pretrain`, `train` or `test`, read on first use.

        Raises:
            AbsentError: There is no such split.
            DataError: Its files are missing or damaged.
        """
        if name not in _SPLITS:
            raise AbsentError(
                f"{self._dataset} has no {one_line(name)} split, only {', '.join(_SPLITS)}{did_you_mean(name, _SPLITS)}"
            )
        if name == "pretrain" and self._dataset != "stl10":
            name = "train"
        if name not in self._read:
            self._read[name] = self._files(name) if self._reader is None else self._table(self._reader, name)
        return self._read[name]

    def table(self, name: str) -> Tensor | None:
        """Return all images of a split, uint8 [n, C, H, W]; None for Imagenette, whose images differ in size.

        Raises:
            DataError: As `split`.
        """
        images = self.split(name)
        return images.images if isinstance(images, ImageTable) else None

    def _table(self, reader: Reader, name: str) -> ImageTable:
        pixels, labels = reader(name)
        highest = int(labels.max(initial=-1))
        if highest >= self.num_classes:
            raise DataError(f"{self._dataset} {name}: label {highest}, but there are {self.num_classes} classes")
        return ImageTable(torch.from_numpy(pixels), labels, name=f"{self._dataset}/{name}")

    def _files(self, name: str) -> ImageFiles:
        return _officially_numbered(self._folder, self._folder.split(name), list(IMAGENETTE))


def _cifar(root: Path, dataset: str) -> Reader:
    """Return the reader for the layout that is there."""
    subfolders, train, test, key, label_bytes = _CIFAR[dataset]
    files = {"train": train, "test": test}
    for place in (root, *(root / subfolder for subfolder in subfolders)):
        if (place / f"{train[0]}.bin").is_file():
            return lambda name: _joined(_binary_batch(place / f"{file}.bin", label_bytes) for file in files[name])
        if (place / train[0]).is_file():
            return lambda name: _joined(_python_batch(place / file, key) for file in files[name])
        if (place / "train").is_dir():
            names = list(_CLASS_NAMES[dataset])
            folder = ImageFolder(place, labels="folders")
            return lambda name: _decoded(_officially_numbered(folder, folder.split(name), names))
    expected = f"{subfolders[0]}/, {subfolders[1]}/, or train/ and test/ with a folder of images per class"
    raise _not_here(root, dataset, expected)


def _joined(parts: Iterable[tuple[Pixels, Labels]]) -> tuple[Pixels, Labels]:
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def _python_batch(path: Path, key: str) -> tuple[Pixels, Labels]:
    content = load_arrays(path)
    try:
        pixels, labels = content["data"], np.asarray(content[key], dtype=np.int64)
        if pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
            raise ValueError(f"{pixels.dtype} pixels {pixels.shape}, labels {labels.shape}")
        return pixels.reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE), labels
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{one_line(path)}: not a CIFAR batch: {one_line(repr(error))}") from error


def _binary_batch(path: Path, label_bytes: int) -> tuple[Pixels, Labels]:
    records = _bytes_of(path, label_bytes + 3 * CIFAR_SIDE**2)
    pixels = records[:, label_bytes:].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
    return pixels, records[:, label_bytes - 1].astype(np.int64)


def _bytes_of(path: Path, record: int) -> Pixels:
    """Return a file as rows of bytes, uint8 [n, record]."""
    if not path.is_file():
        raise DataError(f"{one_line(path)}: no such file")
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % record:
        raise DataError(f"{one_line(path)}: {len(content)} bytes, not a multiple of {record}; is it complete?")
    return content.reshape(-1, record)


def _decoded(files: ImageFiles) -> tuple[Pixels, Labels]:
    # One thread: so small an image costs mostly Python, and threads that wait for each other took twice as long.
    table = np.empty((len(files), 3, CIFAR_SIDE, CIFAR_SIDE), dtype=np.uint8)
    for index in range(len(files)):
        image, _ = files[index]
        if image.size != (CIFAR_SIDE, CIFAR_SIDE):
            raise BadImageError(files.describe(index), f"{image.width} x {image.height} pixels, expected 32 x 32")
        table[index] = np.asarray(image).transpose(2, 0, 1)
    return table, np.array(files.labels)  # torch warns of read-only ones


def _stl10(root: Path, pretrain_on: str) -> Reader:
    place = root if (root / "test_X.bin").is_file() else root / "stl10_binary"
    if not place.is_dir():
        raise _not_here(root, "stl10", "stl10_binary/")

    def read(name: str) -> tuple[Pixels, Labels]:
        if name != "pretrain":
            return _stl10_part(place, name)
        parts = {"train": ["train"], "unlabelled": ["unlabeled"], "all": ["unlabeled", "train"]}[pretrain_on]
        if pretrain_on == "all":
            parts = [part for part in parts if (place / f"{part}_X.bin").is_file()] or ["train"]
        return _stl10_part(place, parts[0]) if len(parts) == 1 else _joined(_stl10_part(place, part) for part in parts)

    return read


def _stl10_part(place: Path, name: str) -> tuple[Pixels, Labels]:
    # Source: the set's web page: three colour planes an image, each stored column by column; labels from 1.
    pixels = _bytes_of(place / f"{name}_X.bin", 3 * _STL_SIDE**2)
    pixels = pixels.reshape(-1, 3, _STL_SIDE, _STL_SIDE).transpose(0, 1, 3, 2)
    if name == "unlabeled":
        return pixels, np.full(len(pixels), -1, dtype=np.int64)
    labels = _bytes_of(place / f"{name}_y.bin", 1)[:, 0].astype(np.int64) - 1
    if len(labels) != len(pixels):
        raise DataError(f"{one_line(place)}: {len(pixels)} {name} images, but {len(labels)} labels")
    return pixels, labels


def _imagenette(root: Path) -> ImageFolder:
    for place in (root, *sorted(root.glob("imagenette2*"))):
        if (place / "train").is_dir() and (place / "val").is_dir():
            return ImageFolder(place, test="val", labels="folders")
    raise _not_here(root, "imagenette", "imagenette2*/ with train/ and val/")


def _not_here(root: Path, dataset: str, expected: str) -> AbsentError:
    command = f"sslkit data fetch {dataset} --data-root {shlex.quote(one_line(root))}"
    return AbsentError(f"{one_line(root)}: no {dataset} here; expected {expected}; where to get it: {command}")


def _officially_numbered(folder: ImageFolder, files: ImageFiles, official: list[str]) -> ImageFiles:
    """Return the files with labels that follow the official order of the class folders' names."""
    there = folder.class_names or []
    for name in there:
        if name not in official:
            raise DataError(
                f"{one_line(files.listing.folder / name)}: not a class of this set{did_you_mean(name, official)}"
            )
    return files.with_labels(np.array([official.index(name) for name in there], dtype=np.int64)[files.labels])
