"""One's own images in a folder: with splits or without, with class folders or without.

Enters: a folder. Leaves: data sets of (PIL image, label). Called by the engine for the recipe's data tables,
and by `builtin/data/torchvision_sets` for the sets that come as class folders.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sslkit import DataError, did_you_mean, find_images, one_line, open_image


class ImageFiles:
    """A map-style data set of image files with labels.

    The paths are kept in one array of bytes, not in a list of strings: a worker that reads a Python object
    writes its reference count, and so copies the page that it shared with the main process.

    Args:
        folder: The folder that the paths are relative to.
        paths: Relative paths, with `/`.
        labels: int64 [n], -1 where there is none.

    Attributes:
        folder: As above.
        labels: As above.
    """

    def __init__(self, folder: Path, paths: Sequence[str], labels: npt.NDArray[np.int64]) -> None:
        self.folder = folder
        self.labels = labels
        encoded = [os.fsencode(path) for path in paths]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one image, upright and in RGB, and its label.

        Raises:
            BadImageError: The file cannot be read; the message names it.
            IndexError: There is no such image.
        """
        return open_image(Path(self.describe(index))), int(self.labels[index])

    def with_labels(self, labels: npt.NDArray[np.int64]) -> ImageFiles:
        """Return the same files with other labels, int64 [n]."""
        files = copy.copy(self)
        files.labels = labels
        return files

    def path(self, index: int) -> str:
        """Return the relative path of an image."""
        position = range(len(self))[index]
        start, end = self._ends[position], self._ends[position + 1]
        return os.fsdecode(self._text[start:end].tobytes())

    def describe(self, index: int) -> str:
        """Return the path of an image, as messages name it."""
        return os.fspath(self.folder / self.path(index))

    def fingerprint(self) -> str:
        """Return a SHA-256 over the sorted (relative path, size in bytes, label) of all images.

        It costs one look at each file's size, and does not change when the folder moves.
        """
        digest = hashlib.sha256()
        for path, index in sorted((self.path(index), index) for index in range(len(self))):
            size = (self.folder / path).stat().st_size
            digest.update(os.fsencode(path) + f"\0{size}\0{self.labels[index]}\n".encode())
        return digest.hexdigest()


class ImageFolder:
    """Images in a folder, in either of two layouts.

    With split folders, `train/`, `validation/` (or `val/`) and `test/`; pretraining uses `train/` too.
    Without any of them, the folder itself is the pretrain and the train split. Inside a split, images lie in
    one folder per class, or in any other way if they have no labels. Classes are matched between splits by
    name; their numbers follow the sorted names of the train split.

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

    Attributes:
        num_classes: Number of classes, None without labels.
        class_names: Their names in the order of their numbers, None without labels.
        on_bad_image: As above.

    Raises:
        DataError: The folder does not exist or holds no images.
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
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self._root = Path(root)
        if not self._root.is_dir():
            raise DataError(f"{one_line(root)}: no such folder; see `folder` in the recipe and --data-root")
        self._folders = {"train": train, "validation": validation, "test": test}
        if validation == "validation" and not (self._root / "validation").is_dir():
            self._folders["validation"] = "val"
        self._labels = labels
        self.class_names: list[str] | None = None
        self.num_classes: int | None = None

        folder = self._train_folder(train)
        paths = _images_in(folder)
        if _has_classes(paths, labels):
            self.class_names = sorted({_class_of(path, folder) for path in paths})
            self.num_classes = len(self.class_names)
        self._train = self._label(folder, paths)

    def split(self, name: str) -> ImageFiles:
        """Return the split `pretrain`, `train`, `validation` or `test`.

        Raises:
            DataError: There is no such split, it is empty, or it has a class that the train split lacks.
        """
        if name in ("pretrain", "train"):
            return self._train
        if name not in self._folders:
            raise DataError(f"no split {one_line(name)!r}{did_you_mean(name, ['pretrain', *self._folders])}")
        folder = self._root / self._folders[name]
        if not folder.is_dir():
            raise DataError(f"{one_line(folder)}: no {name} split; {self._what_to_type(name)}")
        return self._label(folder, _images_in(folder))

    def _train_folder(self, train: str) -> Path:
        if (self._root / train).is_dir():
            return self._root / train
        others = [name for name in ("validation", "test") if (self._root / self._folders[name]).is_dir()]
        if train != "train" or others:  # taking the whole folder would train on what measures
            raise DataError(f"{one_line(self._root / train)}: no train split; {self._what_to_type('train')}")
        return self._root

    def _what_to_type(self, name: str) -> str:
        if name == "test" and (self._root / self._folders["validation"]).is_dir():
            return f'to test on the validation images, set `test = "{self._folders["validation"]}"`'
        there = sorted(place.name for place in self._root.iterdir() if place.is_dir())
        listed = ", ".join(there[:8]) + (", …" if len(there) > 8 else "")
        return f'set `{name} = "..."` to one of the folders there: {one_line(listed) or "none"}'

    def _label(self, folder: Path, paths: list[str]) -> ImageFiles:
        if self.class_names is None:
            return ImageFiles(folder, paths, np.full(len(paths), -1, dtype=np.int64))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        names = [_class_of(path, folder) for path in paths]
        for name in names:
            if name not in numbers:
                raise DataError(
                    f"{one_line(folder / name)}: class {one_line(name)!r} is not in the train split"
                    f"{did_you_mean(name, numbers)}"
                )
        return ImageFiles(folder, paths, np.array([numbers[name] for name in names], dtype=np.int64))


def _images_in(folder: Path) -> list[str]:
    paths = find_images(folder)
    if not paths:
        raise DataError(f"{one_line(folder)}: holds no images")
    return paths


def _has_classes(paths: list[str], labels: Literal["auto", "folders", "none"]) -> bool:
    if labels != "auto":
        return labels == "folders"
    return all("/" in path for path in paths) and len({path.partition("/")[0] for path in paths}) > 1


def _class_of(path: str, folder: Path) -> str:
    name, slash, _ = path.partition("/")
    if not slash:
        raise DataError(
            f"{one_line(folder / path)}: lies in no class folder; "
            'move it into one, or set `labels = "none"` to do without classes'
        )
    return name
