"""What can be said of the data that a recipe names, whether they are here or not.

Enters: data tables. Leaves: the number of images of each split, images to try a step on, the data's own or stand-ins of
the same kind, and what a run would say of data that it does not find. Called by `cost`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from sslkit.engine.batches import RawBatch, Source, sample_batch, sample_views
from sslkit.engine.choices import built, data_key, open_data
from sslkit.engine.interfaces import Data, Dataset, Views
from sslkit.engine.prepared_views import complete_views
from sslkit.engine.work import Nominal, Sizes
from sslkit.errors import AbsentError, DataError
from sslkit.recipe.plan import Choice, Recipe
from sslkit.registry.options import signature_of
from sslkit.text import one_line

_SPLITS: Final = ("pretrain", "train", "validation", "test")
_STAND_INS: Final = 256
_PREPARED: Final = 16  # images that are read; larger batches repeat them
_PHOTOGRAPH: Final = (500, 375)  # pixels: what most of ImageNet's are


class Sample(NamedTuple):
    """Images of a pretraining to try.

    Attributes:
        views: Of the recipe.
        source: Of the images.
        raw: A few of them, as workers hand them over.
        preparing: Seconds that a worker took for each; of tables none.
    """

    views: Views
    source: Source
    raw: RawBatch
    preparing: float

    def batch(self, count: int) -> RawBatch:
        """Return as many images as are wanted, the few over and over."""
        rows = torch.arange(count, device=self.raw.draws.device) % len(self.raw.draws)
        return RawBatch(tuple(group[rows] for group in self.raw.groups), *(tensor[rows] for tensor in self.raw[1:]))


@dataclass(frozen=True)
class Known:
    """What is known of some data.

    Attributes:
        sizes: Images of each split that there is; empty if that is not known.
        num_classes: Number of classes; None without labels, or if that is not known.
        name: What they are called.
        data: They themselves, if they are here.
        image_size: Side of the images, where all are of one; None for files.
        absent: Why they are not here; None if they are, or need no files.
        faults: Of splits: why a run cannot have them.
    """

    sizes: Sizes = field(default_factory=dict)
    num_classes: int | None = None
    name: str = ""
    data: Data | None = None
    image_size: int | None = None
    absent: DataError | None = None
    faults: Mapping[str, DataError] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why nothing is known; empty if something is."""
        return "" if self.sizes or self.absent is None else f"unknown, the data are not there: {one_line(self.absent)}"

    def fault(self, split: str = "") -> DataError | None:
        """Return why a run cannot have a split, or the data at all; None if it can."""
        return self.absent or self.faults.get(split)

    def source(self, views: Views) -> Source:
        """Return images to try a step on: the data's own, or stand-ins of the same kind."""
        return Source.of(self._images, views)

    def sample(self, choice: Choice, seed: int, device: torch.device) -> Sample:
        """Return images for views to try: stand-ins for those that cannot be read, of which the run will say so.

        Args:
            choice: The table of the views.
            seed: Of the run.
            device: Where they are to be.
        """
        views = complete_views(built(choice, seed))
        try:
            source = self.source(views)
            raw, preparing = _prepared(source, views, seed)
        except DataError:
            source = self.without_images().source(views)
            raw, preparing = _prepared(source, views, seed)
        raw = RawBatch(tuple(group.to(device) for group in raw.groups), *(tensor.to(device) for tensor in raw[1:]))
        return Sample(views, source, raw, 0.0 if source.table is not None else preparing)

    def shapes(self, views: Views, seed: int) -> list[tuple[int, ...]]:
        """Return the shape (C, h, w) of each view, as `sample` those of stand-ins if need be."""
        try:
            source = self.source(views)
            found = sample_views(source, views, seed, (0, 1 % len(source.dataset)))
        except DataError:
            source = self.without_images().source(views)
            found = sample_views(source, views, seed, (0, 1))
        return [tuple(view.shape[1:]) for view in found]

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
        data_root: What `folder` keys are below.
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

    def lacking(self, recipe: Recipe, *, skip_absent: bool = False) -> dict[str, DataError]:
        """Return which data a run would stop for at its start, by what tells them from others.

        Args:
            recipe: Of the run.
            skip_absent: As of the run: evaluations may lack their data.
        """
        found: dict[str, DataError] = {}
        for choice, split, may_lack in _needed(recipe):
            fault = self.of(choice, recipe.seed).fault(split)
            if fault is not None and not (may_lack and skip_absent and isinstance(fault, AbsentError)):
                found.setdefault(data_key(choice), fault)
        return found

    def _look(self, choice: Choice, seed: int) -> Known:
        known = _nominal(choice)
        if known is not None and "root" not in signature_of(choice.component).engine:
            return known  # exact, and nothing has to be made
        try:
            data = open_data(choice, self._data_root, seed)
        except DataError as error:
            return replace(known or Known(name=choice.component.name), absent=error)
        sizes, faults = _sizes(data)
        name = str(getattr(data, "name", choice.component.name))
        return Known(sizes, data.num_classes, name, data, faults=faults)


def _needed(recipe: Recipe) -> Iterator[tuple[Choice, str, bool]]:
    """Yield the data tables of a recipe, a split that each has to have, and whether it is one of an evaluation."""
    plan = recipe.pretrain
    if plan is not None:
        yield plan.data, "pretrain", False
        yield from ((watcher.data, "", False) for watcher in plan.callbacks if watcher.data is not None)
    for table in recipe.evaluate:
        choice = table.data or plan.data  # type: ignore[union-attr]
        yield from ((choice, split, True) for split in ("train", "test"))


def _nominal(choice: Choice) -> Known | None:
    says = getattr(choice.component.load(), "nominal", None)
    told: Nominal | None = None if says is None else says(choice.options)
    if told is None:
        return None
    return Known(told.sizes, told.num_classes, told.name or choice.component.name, image_size=told.image_size)


def _sizes(data: Data) -> tuple[Sizes, Mapping[str, DataError]]:
    """Return the number of images of each split that there is, and why there is none of the others."""
    sizes, faults = {}, {}
    for name in _SPLITS:
        try:
            sizes[name] = len(data.split(name))
        except DataError as error:  # it has no such split, or no whole one
            faults[name] = error
    return sizes, faults


def _prepared(source: Source, views: Views, seed: int) -> tuple[RawBatch, float]:
    """Return a few images as workers hand them over, and the seconds that each took."""
    count = min(_PREPARED, len(source.dataset))
    sample_batch(source, views, seed, 0, range(min(2, count)))
    began = time.perf_counter()
    raw = sample_batch(source, views, seed, 0, range(count))
    return raw, (time.perf_counter() - began) / count


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
