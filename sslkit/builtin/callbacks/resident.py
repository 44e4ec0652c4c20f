"""A few images that a callback looks at again and again: chosen once, read once, kept on the device.

Enters: data. Leaves: images to fit on and images to score on, with their labels. Called by `online`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslkit import Data, DataError, fitted_images, has_split, sample_keys


@dataclass(frozen=True)
class Resident:
    """Images of two kinds that do not overlap, in an order in which any first few are of as many classes as there are.

    Attributes:
        fit: uint8 [n, C, S, S].
        fit_labels: int64 [n], -1 for none; or int8 [n, classes].
        score: uint8 [m, C, S, S], m about n / 2.
        score_labels: As `fit_labels`.
        origin: Where they are from, in words.
    """

    fit: Tensor
    fit_labels: Tensor
    score: Tensor
    score_labels: Tensor
    origin: str

    @classmethod
    def read(cls, data: Data, size: int, count: int, score_split: str | None, device: torch.device) -> Resident:
        """Choose and read images; the same in every run on the same data.

        Args:
            data: Where they are: in its split `train`, or `pretrain` if there is no such.
            size: Their side, pixels.
            count: How many to fit on; half as many are for scoring.
            score_split: Where to score; None takes `validation`, else `test`, else images of the first split that are
                not fitted on.
            device: Where to keep them.

        Raises:
            DataError: There is no such split, or no image can be read.
        """
        source = "train" if has_split(data, "train") else "pretrain"
        if score_split is None:
            score_split = next((name for name in ("validation", "test") if has_split(data, name)), source)
        if score_split != source:
            fit, score = _chosen(data, source, count), _chosen(data, score_split, count // 2)
        else:
            both = _chosen(data, source, count + count // 2)
            cut = -(-2 * len(both) // 3)
            fit, score = both[:cut], both[cut:]
            if not score:
                raise DataError(f'the split "{source}" has {len(both)} image: builtin.online needs two')
        images, labels = fitted_images(data, source, size, fit)
        score_images, score_labels = fitted_images(data, score_split, size, score)
        return cls(
            images.to(device), labels.to(device), score_images.to(device), score_labels.to(device),
            f"{len(images):,} images of {source}, scored on {len(score_images):,} others of {score_split}",
        )  # fmt: skip

    @property
    def is_labelled(self) -> bool:
        """Whether every image has one class."""
        return all(labels.ndim == 1 and bool((labels >= 0).all()) for labels in (self.fit_labels, self.score_labels))


def balanced(labels: npt.NDArray[Any] | None, total: int, count: int) -> list[int]:
    """Return positions of images: one of each class, then a second of each, and so on, drawn without any seed.

    Args:
        labels: int [total], those below 0 last; None or several a image: drawn from all alike.
        total: Of how many.
        count: At most how many.
    """
    order = np.argsort(sample_keys(0, 0, np.arange(total)), kind="stable")
    if labels is None or labels.ndim != 1:
        return [int(position) for position in order[:count]]
    shuffled = labels[order]
    by_class = np.argsort(shuffled, kind="stable")
    _, starts, counts = np.unique(shuffled[by_class], return_index=True, return_counts=True)
    place = np.empty(total, dtype=np.int64)
    place[by_class] = np.arange(total) - np.repeat(starts, counts)
    chosen = order[np.lexsort((shuffled, place, shuffled < 0))[:count]]
    return [int(position) for position in chosen]


def _chosen(data: Data, split: str, count: int) -> list[int]:
    dataset = data.split(split)
    labels = getattr(dataset, "labels", None)
    return balanced(None if labels is None else np.asarray(labels), len(dataset), count)
