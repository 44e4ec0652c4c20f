"""The twelve sets of SimCLR's transfer evaluation, read from their official layouts on disk.

Enters: a folder that holds a set. Leaves: data sets of (image, label) in the official or a documented split, and the
metric that the literature reports. Called by the engine for the recipe's data tables. Nothing is downloaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from sslkit import AbsentError, DataError, Listing, Nominal, did_you_mean, one_line
from sslkit.builtin.data.image_folder import ImageFiles
from sslkit.builtin.data.tables import ImageTable
from sslkit.builtin.data.torchvision_sets import CIFAR_SIDE, TorchvisionSets
from sslkit.builtin.data.transfer.class_folders import caltech101, sun397
from sslkit.builtin.data.transfer.held_out import held_out
from sslkit.builtin.data.transfer.layout import Layout, Listed, missing
from sslkit.builtin.data.transfer.matlab_lists import cars, flowers102
from sslkit.builtin.data.transfer.text_lists import aircraft, birdsnap, dtd, food101, pets
from sslkit.builtin.data.transfer.voc import voc2007

logger = logging.getLogger("sslkit")

_Name = Literal[
    "food101", "cifar10", "cifar100", "birdsnap", "sun397", "cars", "aircraft", "voc2007", "dtd", "pets", "caltech101",
    "flowers102",
]  # fmt: skip
_Metric = Literal["top1", "mean_per_class", "voc_map"]


class _Official(NamedTuple):
    layout: Callable[[Path], Layout] | None  # CIFAR has a reader of its own
    metric: _Metric
    num_classes: int
    train: int  # numbers of images
    validation: int
    test: int


# Source: the metrics from SimCLR (arXiv 2002.05709), B.8.1; the numbers from BYOL (arXiv 2006.07733), table 10.
# Caltech's background is a class there: 30 of each class to train on are 3,060 images.
_OFFICIAL = {
    "food101": _Official(food101, "top1", 101, 68_175, 7_575, 25_250),
    "cifar10": _Official(None, "top1", 10, 45_000, 5_000, 10_000),
    "cifar100": _Official(None, "top1", 100, 44_933, 5_067, 10_000),
    "birdsnap": _Official(birdsnap, "top1", 500, 42_405, 4_981, 2_443),
    "sun397": _Official(sun397, "top1", 397, 15_880, 3_970, 19_850),
    "cars": _Official(cars, "top1", 196, 6_494, 1_650, 8_041),
    "aircraft": _Official(aircraft, "mean_per_class", 100, 3_334, 3_333, 3_333),
    "voc2007": _Official(voc2007, "voc_map", 20, 2_501, 2_510, 4_952),
    "dtd": _Official(dtd, "top1", 47, 1_880, 1_880, 1_880),
    "pets": _Official(pets, "mean_per_class", 37, 2_940, 740, 3_669),
    "caltech101": _Official(caltech101, "mean_per_class", 102, 2_550, 510, 6_084),
    "flowers102": _Official(flowers102, "mean_per_class", 102, 1_020, 1_020, 6_149),
}
_SPLITS = ("pretrain", "train", "validation", "test")


class TransferSets:
    """One of the sets that SimCLR was transferred to, from files that are already there.

    The folder is the set's own or the one above it. Aircraft, VOC 2007, DTD (its first split) and Flowers have the
    splits of their creators. Of the others' training images a fixed part is the validation split: in each class
    those whose name (CIFAR: pixels) has the smallest SHA-256, in the numbers that the literature uses. Caltech-101
    has 30 training images of each class, chosen likewise, 5 of them for validation. The pretrain split is the train
    split. Images that Birdsnap lists but that could not be downloaded are left out, with a line that counts them.

    Args:
        root: The folder.
        dataset: Which set it holds.
        on_bad_image: What pretraining does with an image that cannot be read: `raise` an error that names it, or
            `replace` it with another one, chosen by a fixed rule.
        max_bad_fraction: Pretraining stops when more than this share of all images could not be read.

    Attributes:
        name: Which set it is.
        num_classes: Number of classes.
        class_names: Their official names, in official order.
        metric: What the literature reports: `top1`, `mean_per_class` accuracy, or `voc_map`, the mean over classes
            of the average precision at 11 points.
        on_bad_image: As above.
        max_bad_fraction: As above.

    Raises:
        AbsentError: The folder does not hold the set; the message names what is expected.
        DataError: A list of it is missing or damaged.
    """

    def __init__(
        self,
        root: Path,
        *,
        dataset: _Name,
        on_bad_image: Literal["raise", "replace"] = "raise",
        max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self.max_bad_fraction = max_bad_fraction
        self._root = Path(root)
        self._dataset = dataset
        self.name = dataset
        self._official = _OFFICIAL[dataset]
        self._read: dict[str, ImageFiles | ImageTable] = {}
        self._reader: Callable[[str], ImageFiles | ImageTable]
        self.metric = self._official.metric
        if dataset == "cifar10" or dataset == "cifar100":
            own = self._root / dataset  # where the recipes that pretrain on it look
            cifar = TorchvisionSets(own if own.is_dir() else self._root, dataset=dataset)
            self.class_names = tuple(cifar.class_names)
            self._reader = partial(self._pixels, cifar)
        else:
            assert self._official.layout is not None
            layout = self._official.layout(self._root)
            self.class_names = layout.class_names
            self._reader = partial(self._files, layout)
        self.num_classes = len(self.class_names)
        self._compare("classes", self.num_classes, self._official.num_classes)

    @staticmethod
    def nominal(options: Mapping[str, Any]) -> Nominal:
        """Return how many images a set officially has, whether it is here or not."""
        name = options["dataset"]
        official = _OFFICIAL[name]
        sizes = {"pretrain": official.train} | {split: getattr(official, split) for split in _SPLITS[1:]}
        return Nominal(sizes, official.num_classes, None if official.layout else CIFAR_SIDE, name)

    def split(self, name: str) -> ImageFiles | ImageTable:
        """Return the split `pretrain`, `train`, `validation` or `test`, read on first use.

        Raises:
            AbsentError: There is no such split.
            DataError: A file of it is missing or damaged.
        """
        if name not in _SPLITS:
            raise AbsentError(
                f"{self._dataset} has no {one_line(name)} split, only {', '.join(_SPLITS)}{did_you_mean(name, _SPLITS)}"
            )
        name = "train" if name == "pretrain" else name
        if name not in self._read:
            images = self._reader(name)
            self._compare(f"{name} images", len(images), getattr(self._official, name))
            self._read[name] = images
        return self._read[name]

    def table(self, name: str) -> Tensor | None:
        """Return all images of a split of CIFAR, uint8 [n, 3, 32, 32]; None for the other sets.

        Raises:
            DataError: As `split`.
        """
        images = self.split(name)
        return images.images if isinstance(images, ImageTable) else None

    def _compare(self, what: str, found: int, expected: int) -> None:
        if found != expected:
            logger.warning("%s: %s %s, officially %s", self._dataset, f"{found:,}", what, f"{expected:,}")

    def _num_validation(self, num_images: int) -> int:
        share = self._official.validation / (self._official.train + self._official.validation)
        return round(num_images * share)

    def _files(self, layout: Layout, name: str) -> ImageFiles:
        if layout.has_validation or name == "test":
            listed = layout.read(name)
        else:
            listed = layout.read("train")
            keys = map(os.fsencode, listed.paths)
            held = held_out(keys, listed.labels, self._num_validation(len(listed.paths)))
            listed = listed.only(held == (name == "validation"))
        return self._present(layout, listed, name)

    def _pixels(self, cifar: TorchvisionSets, name: str) -> ImageTable:
        whole = cifar.split("test" if name == "test" else "train")
        assert isinstance(whole, ImageTable)
        if name == "test":
            return whole
        keys = (image.numpy().tobytes() for image in whole.images)
        chosen = held_out(keys, whole.labels, self._num_validation(len(whole))) == (name == "validation")
        return ImageTable(whole.images[torch.from_numpy(chosen)], whole.labels[chosen], name=f"{self._dataset}/{name}")

    def _present(self, layout: Layout, listed: Listed, name: str) -> ImageFiles:
        """Return the listed images; without those that are not there, if some are known to be missing."""
        for path in listed.paths:
            if path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise DataError(f"{one_line(layout.folder)}: a list names {one_line(path)}, which lies outside")
        listing = Listing.of(layout.folder, listed.paths)
        files = ImageFiles(listing, listed.labels)
        absent = np.flatnonzero(listing.sizes < 0)
        if not len(absent):
            return files
        counts = f"{len(absent):,} of {len(files):,} {name} images"
        if not layout.may_lack or len(absent) == len(files):
            reason = missing(Path(files.describe(absent[0])), self._dataset, self._root)
            raise DataError(f"{reason} ({counts} are not there)")
        logger.warning(
            "%s: %s are not there and left out, first %s", self._dataset, counts, one_line(files.describe(absent[0]))
        )
        return files.subset(np.flatnonzero(listing.sizes >= 0))
