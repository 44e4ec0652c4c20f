"""Sets whose classes are folders of images: SUN397 and Caltech-101.

Enters: a set's folder. Leaves: its layout. Called by `transfer_sets`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from sslkit import DataError, find_images, one_line
from sslkit.builtin.data.transfer.held_out import rank_in_class
from sslkit.builtin.data.transfer.layout import Layout, Listed, lines_of, numbers_of, place_of

_CALTECH_TRAIN, _CALTECH_VALIDATION = 25, 5
"""Images of a Caltech class for training, and further ones for validation.

Source: SimCLR (arXiv 2002.05709), B.8.1: 30 of each class to train on; BYOL (arXiv 2006.07733), table 10: 2,550 and
510 of these 3,060, which is 25 and 5 of each of 102 classes, the background being one.
"""


def sun397(root: Path) -> Layout:
    """`SUN397/`: `<letter>/<class>/sun_*.jpg`, and `ClassName.txt`, `Training_01.txt`, `Testing_01.txt`.

    The lists come in an archive of their own, Partitions.zip; they may lie in `SUN397/`, in a folder `Partitions/`
    there or beside it, or beside it themselves.
    """
    place = place_of(root, "sun397", ["SUN397"], "a")

    def path_of(name: str) -> Path:
        homes = (place, place / "Partitions", place.parent / "Partitions", place.parent)
        return next((home / name for home in homes if (home / name).is_file()), place / name)

    # Source: the lists themselves: every class is written as `/a/abbey`, after the letter that it starts with.
    classes = tuple(folder[3:] for folder in lines_of(path_of("ClassName.txt"), "sun397", root))

    def read(split: str) -> Listed:
        path = path_of("Training_01.txt" if split == "train" else "Testing_01.txt")
        names = lines_of(path, "sun397", root)
        return Listed(
            [name.removeprefix("/") for name in names],
            numbers_of((name.rpartition("/")[0][3:] for name in names), classes, path),
        )

    return Layout(place, classes, read)


def caltech101(root: Path) -> Layout:
    """`caltech101/101_ObjectCategories/`: `<class>/image_<number>.jpg`, the background among the classes.

    There are no official splits. Of each class the 25 images whose path (`<class>/image_0001.jpg`) has the smallest
    SHA-256 are for training, the next 5 for validation, the rest is the test split.
    """
    place = place_of(root, "caltech101", ["caltech101", "caltech-101"], "101_ObjectCategories")
    place /= "101_ObjectCategories"
    paths = find_images(place)
    for path in paths:
        if path.count("/") != 1:
            raise DataError(f"{one_line(place / path)}: lies in no class folder; expected <class>/image_<number>.jpg")
    classes = tuple(sorted({path.partition("/")[0] for path in paths}))
    labels = numbers_of((path.partition("/")[0] for path in paths), classes, place)
    ranks = rank_in_class(map(os.fsencode, paths), labels)
    part = np.digitize(ranks, [_CALTECH_TRAIN, _CALTECH_TRAIN + _CALTECH_VALIDATION])
    everything = Listed(paths, labels)

    def read(split: str) -> Listed:
        return everything.only(part == ("train", "validation", "test").index(split))

    return Layout(place, classes, read, has_validation=True)
