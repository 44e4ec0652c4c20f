"""One's own images in a folder: with splits or without, with class folders or without.

Enters: a folder. Leaves: data sets of (PIL image, label). Called by the engine for the recipe's data tables,
and by `builtin/data/torchvision_sets` for the sets that come as class folders.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from sslkit import (
    AbsentError,
    DataError,
    FoundImages,
    Listing,
    cached_arrays,
    did_you_mean,
    list_images,
    one_line,
    open_image,
)

logger = logging.getLogger("sslkit")

_USUAL = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
_OTHER_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_NAMED = 8
_SHARED_FROM_BYTES = 2**20  # below, a list is copied to workers faster than it is stored


class ImageFiles:
    """A map-style data set of image files with labels.

    All that is long lies in arrays, and those of a long list are memory-mapped from the cache: ranks and workers
    share their pages, and pickling the data set carries no list.

    Args:
        listing: The files; of known paths, `Listing.of(folder, paths)`.
        labels: int64 [n], -1 where there is none; or int8 [n, classes] with 1 present, 0 absent, -1 difficult.

    Attributes:
        listing: As above.
        labels: As above; not to be written to.
    """

    def __init__(self, listing: Listing, labels: npt.NDArray[Any]) -> None:
        arrays: dict[str, Any] = {
            "text": listing.text,
            "ends": listing.ends,
            "sizes": listing.sizes,
            "labels": labels,
        }
        if sum(array.nbytes for array in arrays.values()) >= _SHARED_FROM_BYTES:
            arrays = cached_arrays(listing.fingerprint(labels), arrays.copy)
        self.labels: npt.NDArray[Any] = arrays.pop("labels")
        self.listing = dataclasses.replace(listing, **arrays)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one image, upright and in RGB, and its label.

        Raises:
            BadImageError: The file cannot be read; the message names it.
            IndexError: There is no such image.
        """
        label = self.labels[index]
        return open_image(Path(self.describe(index))), np.array(label) if label.ndim else int(label)

    def with_labels(self, labels: npt.NDArray[Any]) -> ImageFiles:
        """Return the same files with other labels."""
        return ImageFiles(self.listing, labels)

    def subset(self, positions: npt.NDArray[np.int64]) -> ImageFiles:
        """Return some of the files with their labels, in the order of `positions`, int64 [k]."""
        return ImageFiles(self.listing.take(positions), np.asarray(self.labels)[positions])

    def path(self, index: int) -> str:
        """Return the relative path of an image."""
        return self.listing.path(index)

    def describe(self, index: int) -> str:
        """Return the path of an image, as messages name it."""
        return os.fspath(self.listing.folder / self.path(index))

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield relative path and size in bytes of every image, in their order."""
        return self.listing.entries()

    def fingerprint(self) -> str:
        """Return a SHA-256 over the (relative path, size in bytes, label) of all images, in their order.

        It looks at no file again, and does not change when the folder moves.
        """
        return self.listing.fingerprint(self.labels)


class ImageFolder:
    """Images in a folder, in either of two layouts.

    With split folders, `train/`, `validation/` (or `val/`) and `test/`; pretraining uses `train/`; folders beside it
    are left out. Without any of them, the folder itself is the pretrain and the train split. Inside a split, images lie
    in one folder per class, or in any other way if they have no labels. Classes are matched between splits by name;
    their numbers follow the sorted names of the train split's folders that hold images. What is left out, classes
    without images included, is named in one line of the log each.

    Args:
        root: The folder.
        train: Name of the folder with the train split, which is the pretrain split as well.
        validation: Name of the folder with the validation split; `val` is found too.
        test: Name of the folder with the test split; `val` where the validation images are to be the test,
            as is usual for ImageNet.
        labels: `folders` takes the first folder on an image's path as its class; `none` ignores folders;
            `auto` means `folders` if every image lies in one of at least two such folders. Folders that are
            not classes do no harm to pretraining, but say `none` where numbers depend on it.
        on_bad_image: What pretraining does with an image that cannot be read: `raise` an error that names
            it, or `replace` it with another one, chosen by a fixed rule.
        max_bad_fraction: Pretraining stops when more than this share of all images could not be read.

    Attributes:
        num_classes: Number of classes, None without labels.
        class_names: Their names in the order of their numbers, None without labels.
        on_bad_image: As above.
        max_bad_fraction: As above.

    Raises:
        AbsentError: The folder does not exist, or has splits, but no `train/`.
        DataError: It holds no images, or lacks a folder that an option names.
    """

    def __init__(
        self,
        root: Path,
        *,
        train: str = "train",
        validation: str = "validation",
        test: str = "test",
        labels: Literal["auto", "folders", "none"] = "auto",
        on_bad_image: Literal["raise", "replace"] = "raise",
        max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self.max_bad_fraction = max_bad_fraction
        self._root = Path(root)
        if not self._root.is_dir():
            raise AbsentError(f"{one_line(root)}: no such folder; see `folder` in the recipe and --data-root")
        self._folders = {"train": train, "validation": validation, "test": test}
        if validation == "validation" and not (self._root / "validation").is_dir():
            self._folders["validation"] = "val"
        self._labels = labels
        self.class_names: list[str] | None = None
        self.num_classes: int | None = None

        found = _images_in(self._train_folder(train))
        self._empty_classes: set[str] = set()
        if _has_classes(found, labels):
            self.class_names = sorted(name for name, images in found.folders.items() if images)
            self.num_classes = len(self.class_names)
            self._empty_classes.update(found.folders.keys() - self.class_names)
            if self._empty_classes:
                _say(found, f"without images, so no class: {_listed(sorted(self._empty_classes))}")
        self._splits = {"train": self._files(found)}

    def split(self, name: str) -> ImageFiles:
        """Return the split `pretrain`, `train`, `validation` or `test`.

        Raises:
            AbsentError: There is no such split; the validation images are none where they are to be the test.
            DataError: It is empty, has a class that the train split lacks, or lies in a folder that an option names and
                that is not there.
        """
        if name == "pretrain":
            name = "train"
        if name not in self._folders:
            raise AbsentError(f"no split {one_line(name)!r}{did_you_mean(name, ['pretrain', *self._folders])}")
        if name == "validation" and self._folders["validation"] == self._folders["test"]:
            raise AbsentError(f"{one_line(self._root / self._folders['test'])}: is the test split; validation has none")
        if name not in self._splits:
            folder = self._root / self._folders[name]
            if not folder.is_dir():
                raise self._missing(name)
            self._splits[name] = self._files(_images_in(folder))
        return self._splits[name]

    def _train_folder(self, train: str) -> Path:
        if (self._root / train).is_dir():
            self._say_what_is_left_out()
            return self._root / train
        others = [name for name in ("validation", "test") if (self._root / self._folders[name]).is_dir()]
        if train != "train" or others:  # taking the whole folder would train on what measures
            raise self._missing("train")
        there = {place.name.lower(): place.name for place in self._root.iterdir() if place.is_dir()}
        found = {name: there[word] for name, words in _OTHER_NAMES.items() for word in words if word in there}
        if "train" in found and len(found) > 1:
            said = ", ".join(f'{name} = "{folder}"' for name, folder in found.items())
            raise DataError(f"{one_line(self._root)}: its folders look like splits, not like classes; say so: {said}")
        return self._root

    def _say_what_is_left_out(self) -> None:
        splits = {*self._folders.values(), *chain(*_USUAL.values())}
        others = sorted(
            place.name
            for place in self._root.iterdir()
            if place.is_dir() and place.name not in splits and not place.name.startswith(".")
        )
        if others:
            logger.warning(
                "%s: it has %s/, so its folders are taken for splits, and left out are: %s",
                one_line(self._root), self._folders["train"], _listed(others),
            )  # fmt: skip

    def _missing(self, name: str) -> DataError:
        """Return the error for a split's folder that is not there, which is a mistake where an option names it."""
        folder = self._folders[name]
        error = AbsentError if folder in _USUAL[name] else DataError
        return error(f"{one_line(self._root / folder)}: no {name} split; {self._what_to_type(name)}")

    def _what_to_type(self, name: str) -> str:
        if name == "test" and (self._root / self._folders["validation"]).is_dir():
            return f'to test on the validation images, set `test = "{self._folders["validation"]}"`'
        there = sorted(place.name for place in self._root.iterdir() if place.is_dir())
        return f'set `{name} = "..."` to one of the folders there: {_listed(there) or "none"}'

    def _files(self, found: FoundImages) -> ImageFiles:
        """Return the images with their labels, without those of no class and links to what is there already."""
        labels = np.full(len(found.files), -1, dtype=np.int64)
        kept = np.ones(len(found.files), dtype=np.bool_)
        if self.class_names is not None:
            _refuse_loose(found)
            numbers = {name: number for number, name in enumerate(self.class_names)}
            # Some systems write an accented letter as one character, others as two.
            known = {unicodedata.normalize("NFC", name): name for name in numbers}
            filled = set()
            for folder, images in found.folders.items():
                name = folder if folder in numbers else known.get(unicodedata.normalize("NFC", folder), folder)
                here = slice(images.start, images.stop)
                if name in numbers:
                    filled |= {name} if images else set()
                    labels[here] = numbers[name]
                elif images and name in self._empty_classes:
                    kept[here] = False
                    _say(found, f"{_count(len(images), 'image')} of {one_line(name)} left out: none in the train split")
                elif images:
                    raise DataError(
                        f"{one_line(found.files.folder / name)}: class {one_line(name)!r} is not in the train split"
                        f"{did_you_mean(name, numbers)}"
                    )
            absent = [name for name in numbers if name not in filled]
            if absent:
                _say(found, f"no images of class {_listed(absent)}")
        repeated = found.repeated(labels)
        if repeated.any():
            _say(found, f"{_count(int(repeated.sum()), 'link')} left out: the files themselves are listed")
        kept &= ~repeated
        if not kept.any():
            raise DataError(f"{one_line(found.files.folder)}: holds no images of the train split's classes")
        listing = found.files if kept.all() else found.files.take(np.flatnonzero(kept))
        return ImageFiles(listing, labels[kept])


def _images_in(folder: Path) -> FoundImages:
    found = list_images(folder)
    if not len(found.files):
        raise DataError(f"{one_line(folder)}: holds no images")
    if found.ignored:
        entries = f"{found.ignored:,} {'entry' if found.ignored == 1 else 'entries'}"
        more = ", …" if found.ignored > len(found.examples) else ""
        _say(found, f"{entries} ignored ({_listed(found.examples)}{more})")
    return found


def _has_classes(found: FoundImages, labels: Literal["auto", "folders", "none"]) -> bool:
    if labels != "auto":
        return labels == "folders"
    filled = [len(images) for images in found.folders.values() if images]
    return sum(filled) == len(found.files) and len(filled) > 1


def _refuse_loose(found: FoundImages) -> None:
    loose = np.ones(len(found.files), dtype=np.bool_)
    for images in found.folders.values():
        loose[images.start : images.stop] = False
    if loose.any():
        raise DataError(
            f"{one_line(found.files.folder / found.files.path(int(loose.argmax())))}: lies in no class folder; "
            'move it into one, or set `labels = "none"` to do without classes'
        )


def _say(found: FoundImages, what: str) -> None:
    logger.info("%s: %s", one_line(found.files.folder), what)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return one_line(", ".join(names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
