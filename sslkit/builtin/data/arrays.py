"""Images that are arrays already: .npy files, or arrays and tensors from Python. Any number of channels.

Enters: uint8 images of one size and their labels. Leaves: map-style data sets of (uint8 [C, H, W], label), and the
table of a split that fits in memory. Called by the engine for the recipe's data tables, and from Python.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit import AbsentError, DataError, did_you_mean, one_line
from sslkit.builtin.data.tables import ImageTable

Layout: TypeAlias = Literal["auto", "NHWC", "NCHW"]

_SPLITS = ("train", "validation", "test")
_TABLE_BYTES = 2 << 30  # a table lives on the device beside the model
_USUAL_CHANNELS = (1, 3, 4)
_HASHED_IMAGES = 256


class MappedImages:
    """A map-style data set of (uint8 [C, H, W], label) from a .npy file that stays on the disk.

    A worker gets the file's path, not its content.

    Args:
        path: The file: uint8 [n, H, W], [n, H, W, C] or [n, C, H, W].
        labels: Likewise with the labels: whole numbers [n], -1 where there is none; None for no labels at all.
        layout: Where the channels are; `auto` tells where one of the two places has 1, 3 or 4.

    Attributes:
        labels: int64 [n].

    Raises:
        DataError: A file is missing or damaged, or is not of this type and shape.
    """

    def __init__(self, path: Path, labels: Path | None, *, layout: Layout = "auto") -> None:
        self._path = path
        self._layout = layout
        self._open()
        self.labels = _labels(None if labels is None else _load(labels), len(self._images), labels)

    def _open(self) -> None:
        self._images = _channels_first(_load(self._path), self._layout, self._path)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, uint8 [C, H, W], and its label."""
        return torch.from_numpy(np.array(self._images[index], order="C")), int(self.labels[index])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def table(self) -> Tensor | None:
        """Return all images, uint8 [n, C, H, W]; None if they take more than 2 GiB."""
        return torch.from_numpy(np.array(self._images, order="C")) if self._images.nbytes <= _TABLE_BYTES else None

    def describe(self, index: int) -> str:
        """Return the name of an image, as messages give it."""
        return f"{self._path}[{index}]"

    def fingerprint(self) -> str:
        """Return a SHA-256 over the shape, all labels, and 256 images spread over the file."""
        digest = hashlib.sha256(f"{self._images.shape}".encode())
        spread = np.linspace(0, len(self) - 1, min(len(self), _HASHED_IMAGES)).astype(np.int64)
        digest.update(np.array(self._images[spread], order="C").data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


class Arrays:
    """Images and labels in .npy files, or from Python: `Arrays.of(train=(images, labels))`.

    Images are uint8 [n, H, W], [n, H, W, C] or [n, C, H, W] with any number of channels, labels whole numbers [n],
    -1 for none. The files are mapped, never loaded whole for single images; nothing in them is unpickled. A split
    of up to 2 GiB can be a table on the device.

    Args:
        root: The folder that the files are in.
        train: File of the train images, which are the pretrain images as well.
        train_labels: File of their labels.
        validation: File of the validation images.
        validation_labels: File of their labels.
        test: File of the test images.
        test_labels: File of their labels.
        class_names: Names of the classes in the order of their numbers; left out, the numbers are their names.
        layout: `NHWC` with channels last, `NCHW` with channels first; `auto` tells where one of the two places
            has 1, 3 or 4 channels and the other has not.

    Attributes:
        num_classes: Number of classes, None without labels.
        class_names: Their names in the order of their numbers, None without labels.

    Raises:
        AbsentError: The folder does not exist.
        DataError: A file is missing, damaged or of another type or shape, splits differ in channels, a label is not
            one of the classes, or two classes have one name.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str,
        train_labels: str | None = None,
        validation: str | None = None,
        validation_labels: str | None = None,
        test: str | None = None,
        test_labels: str | None = None,
        class_names: list[str] | None = None,
        layout: Layout = "auto",
    ) -> None:
        if not Path(root).is_dir():
            raise AbsentError(f"{one_line(root)}: no such folder; see `folder` in the recipe and --data-root")
        files = {
            "train": (train, train_labels),
            "validation": (validation, validation_labels),
            "test": (test, test_labels),
        }
        splits: dict[str, MappedImages | ImageTable] = {}
        for name, (images, label_file) in files.items():
            if images is None and label_file is not None:
                raise DataError(f'{name}_labels without {name}; say where the images are, `{name} = "..."`')
            if images is not None:
                labels = None if label_file is None else Path(root) / label_file
                splits[name] = MappedImages(Path(root) / images, labels, layout=layout)
        self._take(splits, class_names)

    @classmethod
    def of(
        cls,
        *,
        train: Any,
        validation: Any = None,
        test: Any = None,
        class_names: Sequence[str] | None = None,
        layout: Layout = "auto",
    ) -> Arrays:
        """Return data made of arrays or tensors in memory.

        Args:
            train: Images, uint8 as above, or a tuple (images, labels); tensors [n, C, H, W] are not copied.
            validation: Likewise.
            test: Likewise.
            class_names: As above.
            layout: As above.

        Raises:
            DataError: Images or labels are of another type or shape.
        """
        splits: dict[str, MappedImages | ImageTable] = {}
        for name, given in zip(_SPLITS, (train, validation, test), strict=True):
            if given is not None:
                images, labels = given if isinstance(given, tuple) else (given, None)
                first = _channels_first(_array(images), layout, name)
                pixels = torch.from_numpy(np.require(first, requirements=["C", "W"]))  # copies only if it has to
                numbers = _labels(None if labels is None else _array(labels), len(pixels), f"{name} labels")
                splits[name] = ImageTable(pixels, numbers, name=name)
        data = cls.__new__(cls)
        data._take(splits, class_names)
        return data

    def _take(self, splits: dict[str, MappedImages | ImageTable], class_names: Sequence[str] | None) -> None:
        self._splits = splits
        highest = int(splits["train"].labels.max(initial=-1))
        names = [str(number) for number in range(highest + 1)] if class_names is None else list(class_names)
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(f"class_names has {one_line(twice[0])!r} twice; give each class a name of its own")
        channels = len(splits["train"][0][0])
        self.class_names: list[str] | None = names or None
        self.num_classes: int | None = len(names) or None
        for images in splits.values():
            if len(images[0][0]) != channels:
                raise DataError(
                    f"{one_line(images.describe(0))}: {len(images[0][0])} channels, but train images have {channels}; "
                    "save all splits with the same"
                )
            unknown = (images.labels >= len(names)) | (images.labels < -1)
            if unknown.any():
                first = int(unknown.argmax())
                known = f"classes are 0 to {len(names) - 1}" if names else "the train split has no labels"
                raise DataError(f"{one_line(images.describe(first))}: label {images.labels[first]}, but {known}")

    def split(self, name: str) -> MappedImages | ImageTable:
        """Return the split `pretrain`, `train`, `validation` or `test`.

        Raises:
            AbsentError: There is no such split.
        """
        name = "train" if name == "pretrain" else name
        if name not in self._splits:
            known = did_you_mean(name, ["pretrain", *self._splits]) if name not in _SPLITS else ""
            raise AbsentError(f"no {one_line(name)} split, only {', '.join(self._splits)}{known}")
        return self._splits[name]

    def table(self, name: str) -> Tensor | None:
        """Return all images of a split, uint8 [n, C, H, W]; None if they take more than 2 GiB.

        Raises:
            AbsentError: As `split`.
        """
        images = self.split(name)
        if isinstance(images, MappedImages):
            return images.table()
        return images.images if images.images.nbytes <= _TABLE_BYTES else None


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{one_line(path)}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        reason = "no array, or one of Python objects" if "ickle" in str(error) else one_line(error)
        raise DataError(f"{one_line(path)}: not read as .npy: {reason}; save it again with numpy.save") from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{one_line(path)}: an archive of arrays; save each with numpy.save as .npy")
    return loaded


def _array(values: Any) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _channels_first(images: npt.NDArray[Any], layout: Layout, name: object) -> npt.NDArray[np.uint8]:
    """Return images as [n, C, H, W], a view."""
    if images.dtype != np.uint8:
        scaled = "(images * 255).round()" if images.dtype.kind == "f" else "images, scaled to 0 to 255,"
        raise DataError(f"{one_line(name)}: {images.dtype}, not uint8; save {scaled} as numpy.uint8")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim != 4:
        raise DataError(f"{one_line(name)}: shape {images.shape}, not [n, H, W], [n, H, W, C] or [n, C, H, W]")
    elif layout == "auto":
        first, last = (images.shape[axis] in _USUAL_CHANNELS for axis in (1, 3))
        if first == last:
            raise DataError(
                f'{one_line(name)}: shape {images.shape} does not tell where the channels are; say `layout = "NHWC"` '
                'or `layout = "NCHW"`'
            )
        images = images.transpose(0, 3, 1, 2) if last else images
    elif layout == "NHWC":
        images = images.transpose(0, 3, 1, 2)
    if 0 in images.shape:
        raise DataError(f"{one_line(name)}: shape {images.shape} holds no pixel")
    return images


def _labels(labels: npt.NDArray[Any] | None, count: int, name: object) -> npt.NDArray[np.int64]:
    if labels is None:
        return np.full(count, -1, dtype=np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{one_line(name)}: {labels.dtype} {labels.shape}, not one whole number per image")
    if len(labels) != count:
        raise DataError(f"{one_line(name)}: {len(labels)} labels for {count} images")
    return labels.astype(np.int64)
