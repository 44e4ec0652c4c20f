"""ImageNet (ILSVRC 2012), and the 1 % and 10 % of its labels that semi-supervised results are reported on.

Enters: a folder with `train/` and `val/`. Leaves: data sets of (image, label). Called by the engine for the recipe's
data tables. The lists of the two subsets come with sslkit; `splits/SOURCES.md` says from where.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from annotated_types import Interval

from sslkit import AbsentError, DataError, Nominal, one_line
from sslkit.builtin.data.image_folder import ImageFiles, ImageFolder

_LISTS = {"1%": "imagenet_1percent.txt.xz", "10%": "imagenet_10percent.txt.xz"}

_TRAIN: Final = 1_281_167
_TEST: Final = 50_000
"""Numbers of images. Source: Russakovsky et al. 2015 (ILSVRC), table 2."""


class ImageNet:
    """ImageNet in class folders: `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`.

    The validation images are the test split, as is usual, and there is no validation split: what is chosen is chosen
    on part of the training images. Classes are WordNet numbers, sorted.

    Args:
        root: The folder.
        train_labels: Which images the train split has: all, or the 1 % or 10 % that SimCLR fine-tunes on. The pretrain
            split always has all: it needs no labels.
        on_bad_image: What pretraining does with an image that cannot be read: `raise` an error that names it, or
            `replace` it with another one, chosen by a fixed rule.
        max_bad_fraction: Pretraining stops when more than this share of all images could not be read.

    Attributes:
        num_classes: Number of classes, 1000 of the whole set.
        class_names: Their WordNet numbers, such as `n01440764`.
        metric: `top1`.
        on_bad_image: As above.
        max_bad_fraction: As above.

    Raises:
        AbsentError: The folder has no `train/`.
        DataError: That holds no images.
    """

    def __init__(
        self,
        root: Path,
        *,
        train_labels: Literal["all", "10%", "1%"] = "all",
        on_bad_image: Literal["raise", "replace"] = "raise",
        max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self.max_bad_fraction = max_bad_fraction
        self.metric: Literal["top1"] = "top1"
        self._root = Path(root)
        self._require("train")
        self._folder = ImageFolder(root, test="val", labels="folders")
        self._train_labels = train_labels
        self.class_names = self._folder.class_names
        self.num_classes = self._folder.num_classes

    @staticmethod
    def nominal(options: Mapping[str, Any]) -> Nominal:
        """Return how many images there are, whether they are here or not."""
        chosen = options["train_labels"]
        train = _TRAIN if chosen == "all" else len(imagenet_subset(chosen))
        return Nominal({"pretrain": _TRAIN, "train": train, "test": _TEST}, 1000, name="imagenet")

    def split(self, name: str) -> ImageFiles:
        """Return the split `pretrain`, `train` or `test`.

        Raises:
            AbsentError: There is no such split.
            DataError: An image of the chosen subset is missing.
        """
        if name == "validation":
            raise AbsentError("imagenet has no validation split of its own; its val/ is the test split")
        if name == "test":
            self._require("val")
        return self._subset if name == "train" else self._folder.split(name)

    def _require(self, folder: str) -> None:
        if not (self._root / folder).is_dir():
            raise AbsentError(
                f"{one_line(self._root / folder)}: not there; ImageNet is expected as train/<wnid>/*.JPEG and "
                "val/<wnid>/*.JPEG; where to get it: sslkit data fetch imagenet --data-root DIR"
            )
        if not any(place.is_dir() for place in (self._root / folder).iterdir()):
            raise DataError(
                f"{one_line(self._root / folder)}: has no class folders, as the archive of the validation images has "
                f"none; sort its images into {folder}/<wnid>/"
            )

    @cached_property
    def _subset(self) -> ImageFiles:
        files = self._folder.split("train")
        if self._train_labels == "all":
            return files
        wanted = {f"{name.partition('_')[0]}/{name}" for name in imagenet_subset(self._train_labels)}
        positions = [index for index in range(len(files)) if files.path(index) in wanted]
        if len(positions) < len(wanted):
            absent = sorted(wanted - {files.path(index) for index in positions})
            raise DataError(
                f"{one_line(files.listing.folder / absent[0])}: not there, and in all {len(absent):,} of the "
                f'{len(wanted):,} training images of train_labels = "{self._train_labels}" are missing'
            )
        return files.subset(np.array(positions, dtype=np.int64))


def imagenet_subset(train_labels: Literal["10%", "1%"]) -> list[str]:
    """Return the file names of a subset, in the order in which its authors published them."""
    packed = resources.files("sslkit.builtin.data.splits").joinpath(_LISTS[train_labels]).read_bytes()
    return lzma.decompress(packed).decode("ascii").split()
