"""The classification task of PASCAL VOC 2007: twenty labels an image.

Enters: the folder. Leaves: its layout. Called by `transfer_sets`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslkit import DataError, one_line
from sslkit.builtin.data.transfer.class_names import VOC
from sslkit.builtin.data.transfer.layout import Layout, Listed, lines_of, place_of

# Source: the development kit's documentation, section 3: -1 for none of the class in the image, 1 for at least one,
# 0 for none but difficult ones. Ours: 0, 1 and -1.
_LABELS = {"-1": 0, "1": 1, "0": -1}
_LISTS = {"train": "train", "validation": "val", "test": "test"}


def voc2007(root: Path) -> Layout:
    """`VOCdevkit/VOC2007/`: `JPEGImages/<number>.jpg`, `ImageSets/Main/<class>_{train,val,test}.txt`."""
    place = place_of(root, "voc2007", ["VOCdevkit/VOC2007", "VOC2007"], "ImageSets/Main")

    def read(split: str) -> Listed:
        names: list[str] = []
        labels = np.empty((0, len(VOC)), dtype=np.int8)
        for number, class_name in enumerate(VOC):
            path = place / "ImageSets" / "Main" / f"{class_name}_{_LISTS[split]}.txt"
            rows = [line.split() for line in lines_of(path, "voc2007", root)]
            if any(len(row) != 2 or row[1] not in _LABELS for row in rows):
                raise DataError(f"{one_line(path)}: expected lines such as `000005 -1`, with -1, 0 or 1")
            if number == 0:
                names = [name for name, _ in rows]
                labels = np.empty((len(names), len(VOC)), dtype=np.int8)
            if [name for name, _ in rows] != names:
                raise DataError(f"{one_line(path)}: lists other images than {VOC[0]}_{_LISTS[split]}.txt")
            labels[:, number] = [_LABELS[label] for _, label in rows]
        return Listed([f"JPEGImages/{name}.jpg" for name in names], labels)

    return Layout(place, VOC, read, has_validation=True)
