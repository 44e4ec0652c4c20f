"""What can be said of the data that a recipe names, whether they are here or not.

Enters: data tables. Leaves: the number of images of each split, and images to try a step on: the data's own, or
stand-ins of the same kind. Called by `cost`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from sslkit.engine.batches import Source
from sslkit.engine.choices import data_key, open_data
from sslkit.engine.interfaces import Data, Dataset, Views
from sslkit.engine.work import Nominal, Sizes
from sslkit.errors import DataError
from sslkit.recipe.plan import Choice
from sslkit.registry.options import signature_of
from sslkit.text import one_line

_SPLITS: Final = ("pretrain", "train", "validation", "test")
_STAND_INS: Final = 256
_PHOTOGRAPH: Final = (500, 375)  # pixels: what most of ImageNet's are


@dataclass(frozen=True)
class Known:
    """What is known of some data.

    Attributes:
        sizes: Images of each split that there is; empty if that is not known.
        num_classes: Number of classes; None without labels, or if that is not known.
        name: What they are called.
        data: They themselves, if they are here.
        image_size: Side of the images, where all are of one; None for files.
        reason: Why nothing is known.
    """

    sizes: Sizes = field(default_factory=dict)
    num_classes: int | None = None
    name: str = ""
    data: Data | None = None
    image_size: int | None = None
    reason: str = ""

    def source(self, views: Views) -> Source:
        """Return images to try a step on: the data's own, or stand-ins of the same kind."""
        return Source.of(self._images, views)

    def images(self) -> Dataset:
        """Return images to try evaluations on."""
        return self._images.split("train")

    def without_images(self) -> Known:
        """Return the same, with stand-ins for the images."""
        return replace(self, data=None)

    @property
    def _images(self) -> Data:
        return _StandIns(self.image_size, self.num_classes) if self.data is None else self.data


class KnownData:
    """The data that the recipes of a study name; each is looked at once.

    Args:
        data_root: What `folder` keys are below; without it, data that read a folder are not opened.
    """

    def __init__(self, data_root: Path | None) -> None:
        self._data_root = data_root
        self._known: dict[str, Known] = {}

    def of(self, choice: Choice, seed: int) -> Known:
        """Return what is known of a table's data."""
        key = data_key(choice)
        if key not in self._known:
            self._known[key] = self._look(choice, seed)
        return self._known[key]

    def _look(self, choice: Choice, seed: int) -> Known:
        nominal = _nominal(choice)
        reads_folder = "root" in signature_of(choice.component).engine
        if not reads_folder and nominal is not None:
            return nominal  # exact, and nothing has to be made
        if reads_folder and self._data_root is None and not Path(choice.keys["folder"] or "").is_absolute():
            return nominal or _unknown(choice, "say --data-root DIR")
        try:
            data = open_data(choice, self._data_root, seed)
        except DataError as error:
            return nominal or _unknown(choice, one_line(error))
        return Known(_sizes(data), data.num_classes, str(getattr(data, "name", choice.component.name)), data)


def _unknown(choice: Choice, why: str) -> Known:
    return Known(name=choice.component.name, reason=f"unknown, the data are not there: {why}")


def _nominal(choice: Choice) -> Known | None:
    says = getattr(choice.component.load(), "nominal", None)
    told: Nominal | None = None if says is None else says(choice.options)
    if told is None:
        return None
    return Known(told.sizes, told.num_classes, told.name or choice.component.name, image_size=told.image_size)


def _sizes(data: Data) -> Mapping[str, int]:
    sizes = {}
    for name in _SPLITS:
        try:
            sizes[name] = len(data.split(name))
        except DataError:  # it has no such split, or no whole one
            continue
    return sizes


class _StandIns:
    """Grey noise of the right size, or photographs of noise that have to be decoded; any number of images."""

    class_names: Sequence[str] | None = None

    def __init__(self, image_size: int | None, num_classes: int | None) -> None:
        self.num_classes: int | None = num_classes
        self.labels = np.arange(_STAND_INS) % num_classes if num_classes else np.full(_STAND_INS, -1)
        numbers = np.random.default_rng(0)
        self._table, self._file = None, b""
        if image_size is not None:
            pixels = numbers.integers(0, 256, (_STAND_INS, 3, image_size, image_size), dtype=np.uint8)
            self._table = torch.from_numpy(pixels)
        else:
            coarse = Image.fromarray(numbers.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            file = io.BytesIO()
            coarse.resize(_PHOTOGRAPH, Image.Resampling.BICUBIC).save(file, "jpeg", quality=90)
            self._file = file.getvalue()

    def split(self, name: str) -> _StandIns:
        return self

    def table(self, name: str) -> torch.Tensor | None:
        return self._table

    def __len__(self) -> int:
        return _STAND_INS

    def __getitem__(self, index: int) -> tuple[Any, int]:
        label = int(self.labels[index])
        if self._table is not None:
            return self._table[index], label
        return Image.open(io.BytesIO(self._file)).convert("RGB"), label
