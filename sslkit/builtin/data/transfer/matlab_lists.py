"""Sets whose labels and splits come as MATLAB files: Stanford Cars and Oxford Flowers.

Enters: a set's folder. Leaves: its layout. Called by `transfer_sets`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslkit import DataError, one_line
from sslkit.builtin.data.transfer.class_names import FLOWERS
from sslkit.builtin.data.transfer.layout import Layout, Listed, in_range, missing, place_of
from sslkit.builtin.data.transfer.matlab import load_mat


def cars(root: Path) -> Layout:
    """`stanford_cars/`: `cars_train/`, `cars_test/`, `devkit/{cars_meta,cars_train_annos}.mat`.

    `cars_test_annos_withlabels.mat` came as a file of its own and may lie in either place.
    """
    place = place_of(root, "cars", ["stanford_cars"], "devkit")
    meta = place / "devkit" / "cars_meta.mat"
    classes = tuple(map(str, _variable(meta, "class_names", list, "cars", root)))

    def read(split: str) -> Listed:
        path = place / "devkit" / "cars_train_annos.mat"
        if split == "test":
            path = place / "cars_test_annos_withlabels.mat"
            if not path.exists() and (place / "devkit" / path.name).exists():
                path = place / "devkit" / path.name
        rows = _variable(path, "annotations", list, "cars", root)
        try:
            names = [str(row["fname"]) for row in rows]
            numbers = np.array([int(row["class"].item()) - 1 for row in rows], dtype=np.int64)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{one_line(path)}: its annotations lack `fname` or `class`") from None
        return Listed([f"cars_{split}/{name}" for name in names], in_range(numbers, classes, path))

    return Layout(place, classes, read)


def flowers102(root: Path) -> Layout:
    """`flowers-102/`: `jpg/image_<number>.jpg`, `imagelabels.mat`, `setid.mat`."""
    place = place_of(root, "flowers102", ["flowers-102"], "setid.mat")

    def read(split: str) -> Listed:
        variable = {"train": "trnid", "validation": "valid", "test": "tstid"}[split]
        numbers = _whole(place / "setid.mat", variable, root)
        labels = _whole(place / "imagelabels.mat", "labels", root) - 1
        if numbers.min(initial=1) < 1 or numbers.max(initial=1) > len(labels):
            raise DataError(
                f"{one_line(place / 'setid.mat')}: image {numbers.max()}, but imagelabels.mat has {len(labels)}"
            )
        chosen = in_range(labels[numbers - 1], FLOWERS, place / "imagelabels.mat")
        return Listed([f"jpg/image_{number:05d}.jpg" for number in numbers], chosen)

    return Layout(place, FLOWERS, read, has_validation=True)


def _whole(path: Path, name: str, root: Path) -> npt.NDArray[np.int64]:
    numbers = _variable(path, name, np.ndarray, "flowers102", root).astype(np.int64)
    return np.asarray(numbers).ravel()


def _variable(path: Path, name: str, kind: type, dataset: str, root: Path) -> Any:
    if not path.is_file():
        raise DataError(missing(path, dataset, root))
    value = load_mat(path).get(name)
    if not isinstance(value, kind):
        raise DataError(f"{one_line(path)}: has no variable `{name}` as it should; is it the right file?")
    return value
