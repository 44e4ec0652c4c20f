"""Scores from predictions: accuracies, their means over classes or targets, average precision as in VOC 2007.

Enters: predictions of one evaluation, one entry per test image, as `predictions.npz` holds them. Leaves: fractions.
Called by evaluations, which thereby all mean the same by a metric, and by whatever recomputes a score from its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError

Predictions = Mapping[str, NDArray[Any]]

# The metrics that follow from stored predictions, all of them fractions, and what each needs; of every target, if one
# names several things of an image.
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "top1": ("predicted", "label"),
    "top5": ("top5",),
    "mean_per_class": ("predicted", "label"),
    "voc_map": ("scores", "label"),
    "mean_accuracy": ("predicted_TARGET", "label_TARGET"),
}

_RECALLS: Final = np.arange(11)  # in tenths. Source: VOC 2007 development kit, VOCevaldet.m: 0, 0.1, ..., 1


def mean_per_class(predicted: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the mean over classes of the fraction of each class's images that were recognised.

    A class without a test image has no such fraction: it is left out, not counted as 0 or 1.

    Args:
        predicted: Integer [n], classes.
        label: Integer [n], the true ones.

    Raises:
        DataError: There is no image.
    """
    return float(correct("mean_per_class", {"predicted": predicted, "label": label}).mean())


def voc_map(scores: NDArray[Any], label: NDArray[Any]) -> float:
    """Return the mean over classes of the 11-point interpolated average precision of VOC 2007.

    Images are ranked by score in each class. The average precision is the mean, over recalls of 0, 0.1, ..., 1, of the
    best precision at that recall or a larger one. Images in which the class is difficult take no part in it. Images of
    equal score enter together, so that their order in the data does not matter; recalls are compared as whole numbers,
    without rounding. A class that no image shows is left out.

    Args:
        scores: Float [n, C]; only their order in each class counts.
        label: Integer [n, C]: 1 present, 0 absent, -1 difficult.

    Raises:
        DataError: No image shows any class, or a score is no number.

    Source: Everingham et al. 2010, section 4.2; VOC 2007 development kit.
    """
    return float(voc_map_weighted(scores, label, np.ones((1, len(label)), dtype=np.int64))[0])


def voc_map_weighted(scores: NDArray[Any], label: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return `voc_map` of data in which each image occurs several times, or not at all.

    Args:
        scores: Float [n, C].
        label: Integer [n, C]: 1, 0, -1.
        weights: Integer [r, n]: how often each image occurs in each of r data sets.

    Returns:
        Float [r].

    Raises:
        DataError: See `voc_map`.
    """
    scores, label = np.asarray(scores), np.asarray(label)
    if np.isnan(scores).any():
        raise DataError("scores: a score is not a number; nothing can be ranked by it")
    if not (label == 1).any():
        raise DataError("label: no test image shows any class; average precision needs at least one")
    shown = np.flatnonzero((label == 1).any(axis=0))
    by_class = np.stack([_average_precision(scores[:, c], label[:, c], weights) for c in shown])
    counted = np.isfinite(by_class).sum(axis=0)  # a resample may have lost a class
    mean: NDArray[np.float64] = np.nansum(by_class, axis=0) / np.maximum(counted, 1)
    return mean


def _average_precision(scores: NDArray[Any], label: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the average precision of one class [r]; not a number where no image shows it."""
    ranked = np.argsort(-scores, kind="stable")
    ranked = ranked[label[ranked] >= 0]
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[ranked])), len(ranked) - 1)
    weights = weights[:, ranked]
    found = np.cumsum(weights * (label[ranked] == 1), axis=1)[:, last_of_ties]
    listed = np.cumsum(weights, axis=1)[:, last_of_ties]
    best = np.maximum.accumulate((found / np.maximum(listed, 1))[:, ::-1], axis=1)[:, ::-1]
    present = found[:, -1:]
    needed = -(-_RECALLS * present // 10)  # the fewest images at which the recall is reached
    reached = [np.searchsorted(row, few) for row, few in zip(found, needed, strict=True)]
    points = np.take_along_axis(best, np.array(reached), axis=1)
    return np.where(present[:, 0] > 0, points.mean(axis=1), np.nan)


def correct(metric: str, predictions: Predictions) -> NDArray[Any]:
    """Return what each test image adds to a score: [n], and their mean is the score.

    For `top1` and `top5` whether the image was right, as booleans. For `mean_per_class` right or wrong, weighted so
    that every class counts alike. For `mean_accuracy` the fraction of its targets that were named rightly. Images add
    nothing to average precision one by one, so for `voc_map` the paper tests accuracy: how many of the image's classes
    have a score of the right sign (above 0 is present), weighted so that the mean is the fraction of all entries that
    are not difficult.

    Args:
        metric: "top1", "top5", "mean_per_class", "mean_accuracy" or "voc_map".
        predictions: As the evaluation stored them.

    Raises:
        DataError: The metric is none of these, its arrays are missing, or there is no image.

    Source: SimCLR, appendix B.8.1.
    """
    _require(metric, predictions)
    if metric == "top5":
        return np.asarray(predictions["top5"], dtype=bool)
    if metric == "mean_accuracy":
        names = _needed(metric, predictions)
        pairs = zip(names[::2], names[1::2], strict=True)
        return np.asarray(np.mean([predictions[named] == predictions[true] for named, true in pairs], axis=0))
    label = np.asarray(predictions["label"])
    if metric == "voc_map":
        counted = label >= 0
        right = ((np.asarray(predictions["scores"]) > 0) == (label == 1)) & counted
        return np.asarray(right.sum(axis=1) * (len(label) / max(counted.sum(), 1)))
    right = np.asarray(predictions["predicted"]) == label
    if metric == "top1":
        return np.asarray(right)
    _, position, sizes = np.unique(label, return_inverse=True, return_counts=True)
    return np.asarray(right * (len(label) / len(sizes) / sizes)[position])


def score(metric: str, predictions: Predictions) -> float:
    """Recompute a score from stored predictions.

    Args:
        metric: "top1", "top5", "mean_per_class", "mean_accuracy" or "voc_map".
        predictions: As the evaluation stored them.

    Raises:
        DataError: See `correct` and `voc_map`.
    """
    _require(metric, predictions)
    if metric == "voc_map":
        return voc_map(predictions["scores"], predictions["label"])
    return float(correct(metric, predictions).mean())


def scorable(metric: str, predictions: Predictions) -> bool:
    """Tell whether a metric follows from these predictions: ranks and losses, say, do not.

    Args:
        metric: Any metric's name.
        predictions: As the evaluation stored them.
    """
    names = _needed(metric, predictions) if metric in NEEDS else ()
    return bool(names) and set(names) <= set(predictions) and len(predictions[names[0]]) > 0


def labels_of(predictions: Predictions) -> Predictions:
    """Return what is true of the images, by the names of its arrays: `label`, or that of each target.

    Args:
        predictions: As the evaluation stored them.
    """
    return {name: array for name, array in predictions.items() if name.startswith("label")}


def _needed(metric: str, predictions: Predictions) -> tuple[str, ...]:
    """Return the arrays that a metric needs."""
    if metric != "mean_accuracy":
        return NEEDS[metric]
    parts = (name.partition("_") for name in sorted(predictions))
    targets = dict.fromkeys(target for word, _, target in parts if word in ("predicted", "label") and target)
    return tuple(name.replace("TARGET", target) for target in targets or ["TARGET"] for name in NEEDS[metric])


def _require(metric: str, predictions: Predictions) -> None:
    if metric not in NEEDS:
        raise DataError(f"{metric}: is no score of predictions; these are: {', '.join(NEEDS)}")
    names = _needed(metric, predictions)
    if missing := [name for name in names if name not in predictions]:
        raise DataError(f"{metric}: needs the predictions' {' and '.join(missing)}, which the evaluation did not store")
    amounts = {len(predictions[name]) for name in names}
    if amounts == {0}:
        raise DataError(f"{metric}: there is no test image")
    if len(amounts) > 1:
        raise DataError(f"{metric}: the predictions' {' and '.join(names)} are of different lengths")
