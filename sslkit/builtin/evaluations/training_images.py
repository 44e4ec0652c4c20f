"""Which labelled images an evaluation trains on: all or some of one or more splits of the data.

Enters: data, and positions in its splits. Leaves: data of these images alone, to be trained on or to be scored. Called
by `linear_augmented` and `fine_tune`. No image is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslkit import Data, Dataset, labels_of


class TrainingImages:
    """Some images of another data component, as data that has them in every split.

    Args:
        data: Whose images.
        positions: Name of a split -> int64 [n], which of its images.

    Attributes:
        labels: int64 [n] or int8 [n, classes], in the order of the images.
        num_classes: That of the data.
        class_names: Those of the data.
        on_bad_image: That of the data.
        max_bad_fraction: That of the data.
    """

    def __init__(self, data: Data, positions: Mapping[str, Tensor]) -> None:
        self._data = data
        self._positions = positions
        self.labels = torch.cat([labels_of(data, split)[chosen] for split, chosen in positions.items()])
        self.num_classes = data.num_classes
        self.class_names = data.class_names
        self.on_bad_image: str = getattr(data, "on_bad_image", "raise")
        self.max_bad_fraction: float = getattr(data, "max_bad_fraction", 0.2)
        self._images = _Chosen([(data.split(split), chosen) for split, chosen in positions.items()], self.labels)

    @classmethod
    def whole(cls, data: Data, *splits: str) -> TrainingImages:
        """Return all images of some splits."""
        return cls(data, {split: torch.arange(len(data.split(split))) for split in splits})

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, name: str) -> Dataset:
        """Return the images, whichever split is asked for."""
        return self._images

    def table(self, name: str) -> Tensor | None:
        """Return the images as uint8 [n, C, H, W] if the data has such tables, whichever split is asked for."""
        return self._table

    @cached_property
    def _table(self) -> Tensor | None:
        table_of = getattr(self._data, "table", None)
        parts = [(None if table_of is None else table_of(split), chosen) for split, chosen in self._positions.items()]
        tables = [table if len(chosen) == len(table) else table[chosen] for table, chosen in parts if table is not None]
        if len(tables) < len(parts) or len({table.shape[1:] for table in tables}) > 1:
            return None
        return tables[0] if len(tables) == 1 else torch.cat(tables)


class _Chosen:
    """A map-style data set of some images of others."""

    def __init__(self, parts: list[tuple[Dataset, Tensor]], labels: Tensor) -> None:
        self._datasets = [dataset for dataset, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), [len(chosen) for _, chosen in parts])
        self._position = torch.cat([chosen for _, chosen in parts]).numpy()
        self.labels = labels.numpy()

    def __len__(self) -> int:
        return len(self._position)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        sample: tuple[Any, Any] = self._datasets[self._part[index]][int(self._position[index])]
        return sample

    def describe(self, index: int) -> str:
        dataset, position = self._datasets[self._part[index]], int(self._position[index])
        describe = getattr(dataset, "describe", None)
        return f"image {position}" if describe is None else str(describe(position))
