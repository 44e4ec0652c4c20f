"""How sure a score is, and whether two differ: bootstrap intervals, the paper's permutation test, McNemar's test.

Enters: stored predictions, or what each test image adds to the scores of two models. Leaves: intervals and
probabilities. Called by `evaluate` for every result and by `sslkit compare`. All three speak of the test images only:
how much training varies from seed to seed, several seeds show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError
from sslkit.studies.scores import Predictions, correct, score, voc_map_weighted

SWAPS: Final = 100_000  # Source: SimCLR, appendix B.8.1
LEVEL: Final = 0.05  # below it a difference counts as significant. Source: SimCLR, Table 8

_MOST_RANKINGS: Final = 500  # resamples of average precision, each a ranking per class: a second or two for VOC 2007
_CHUNK_ELEMENTS: Final = 100_000  # of one array: it stays in the processor's cache
_DIGITS: Final = 12  # differences that agree so far are equal but for rounding


def bootstrap_interval(
    metric: str, predictions: Predictions, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of a score over test sets drawn from this one with replacement.

    Accuracies are drawn by their exact law, a count of right images (of each class), not image by image.

    Where all test sets drawn have the same score, as when every image was right, they say nothing of how sure it is:
    then the bounds are Wilson's. Where the score is a mean over classes, they are for as many images as would make an
    accuracy vary as much as that mean does; of "voc_map" those that show a class count as its images. An interval that
    does not reach the score, which happens to average precision of few images, is stretched to it.

    Args:
        metric: "top1", "top5", "mean_per_class", "mean_accuracy" or "voc_map".
        predictions: As the evaluation stored them.
        confidence: Fraction of the resampled scores in the interval, between 0 and 1.
        resamples: Test sets drawn; of "voc_map" at most 500.
        seed: Of the draws: the same interval each time.

    Raises:
        DataError: The metric does not follow from these predictions.
    """
    generator = np.random.default_rng(seed)
    value, right = score(metric, predictions), correct(metric, predictions)
    sizes = np.array([len(right)])
    if metric == "voc_map":
        values = _resampled_voc_map(predictions, min(resamples, _MOST_RANKINGS), generator)
        sizes = (np.asarray(predictions["label"]) == 1).sum(axis=0)
    elif metric == "mean_per_class":
        values = _resampled_mean_per_class(right > 0, np.asarray(predictions["label"]), resamples, generator)
        sizes = np.unique(predictions["label"], return_counts=True)[1]
    else:
        values = _resampled_mean(right, resamples, generator)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    if high - low < 0.1**_DIGITS:
        low, high = _wilson(value, sizes[sizes > 0], confidence)
    return float(min(low, value)), float(max(high, value))


def _wilson(mean: float, sizes: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Return the bounds of a mean of fractions, each of so many images.

    Source: Wilson 1927, Journal of the American Statistical Association 22.
    """
    n = len(sizes) ** 2 / (1 / sizes).sum()  # of one fraction, whose variance is that of the mean
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(mean * (1 - mean) / n + (z / (2 * n)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def _resampled_mean(right: NDArray[Any], resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw how many images add each amount: one and nothing, or parts of one."""
    levels, amounts = (array[::-1] for array in np.unique(right, return_counts=True))
    drawn = generator.multinomial(len(right), amounts / len(right), resamples)
    return np.asarray(drawn @ levels / len(right), dtype=np.float64)


def _resampled_mean_per_class(
    right: NDArray[Any], label: NDArray[Any], resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw how many images of each class are right and wrong; a class that a resample lost is left out."""
    classes, position = np.unique(label, return_inverse=True)
    cells = np.bincount(2 * position + right, minlength=2 * len(classes))
    values = []
    for amount in _chunks(resamples, len(cells)):
        drawn = generator.multinomial(len(label), cells / len(label), amount).reshape(amount, -1, 2)
        sizes = drawn.sum(axis=2)
        values.append((drawn[..., 1] / np.maximum(sizes, 1)).sum(axis=1) / (sizes > 0).sum(axis=1))
    return np.concatenate(values)


def _resampled_voc_map(predictions: Predictions, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    scores, label = np.asarray(predictions["scores"]), np.asarray(predictions["label"])
    n = len(label)
    values = []
    for amount in _chunks(resamples, n):
        weights = np.stack([np.bincount(generator.integers(0, n, n), minlength=n) for _ in range(amount)])
        values.append(voc_map_weighted(scores, label, weights))
    return np.concatenate(values)


def _chunks(total: int, width: int) -> Iterator[int]:
    step = max(1, _CHUNK_ELEMENTS // width)
    return (min(step, total - start) for start in range(0, total, step))


def permutation_test(a: NDArray[Any], b: NDArray[Any], *, swaps: int = SWAPS, seed: int = 0) -> float:
    """Return the two-sided p of two models' difference on the same images, by swapping their predictions at random.

    Under the null hypothesis it does not matter whose prediction is whose. Each draw swaps the two predictions of every
    image with probability 1/2; p is the fraction of draws, the observed one among them, whose difference is at least
    as large. Images on which the two agree change nothing, and those that add the same difference are alike: how many
    of them are swapped is one binomial draw, which is the exact law of swapping one by one.

    Args:
        a: What each image adds to one model's score [n], from `correct`.
        b: The same of the other model, in the same order.
        swaps: Draws.
        seed: Of the draws: the same p each time.

    Raises:
        DataError: The two are of different lengths.

    Source: SimCLR, appendix B.8.1: 100,000 random swaps.
    """
    _require_pairs(a, b)
    difference = np.round(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), _DIGITS)
    sizes, amounts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = np.zeros(swaps)
    for size, amount in zip(sizes, amounts, strict=True):
        drawn += size * (2 * generator.binomial(amount, 0.5, swaps) - amount)
    margin = 0.1**_DIGITS * len(difference)  # a tie must not be lost to the order of a sum
    as_large = np.count_nonzero(np.abs(drawn) >= abs(difference.sum()) - margin)
    return float((as_large + 1) / (swaps + 1))


def mcnemar(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the exact two-sided p of McNemar's test that two models are right equally often on the same images.

    Of the images on which just one model is right, each model would have half: p is twice the smaller tail of that
    binomial distribution, at most 1; and 1 if there are none.

    Args:
        a: Whether one model is right on each image, boolean [n].
        b: The same of the other model, in the same order.

    Raises:
        DataError: The two are of different lengths, or not of right and wrong.

    Source: McNemar 1947, Psychometrika 12; in its exact form.
    """
    _require_pairs(a, b)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != bool or b.dtype != bool:
        raise DataError("McNemar's test is about images that are right or wrong: give it boolean arrays")
    only_a, only_b = int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a))
    total, smaller = only_a + only_b, min(only_a, only_b)
    if 2 * smaller == total:
        return 1.0
    taken = np.arange(1, smaller + 1)
    # In logarithms: 2 to the power of a few thousand is no float any more.
    log_choices = np.append(0.0, np.cumsum(np.log((total - taken + 1) / taken)))
    largest = log_choices[-1]
    log_tail = largest + math.log(np.exp(log_choices - largest).sum()) - total * math.log(2)
    return min(1.0, 2 * math.exp(log_tail))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (n - 1); a single value has no deviation.

    Args:
        values: At least one.
    """
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def _require_pairs(a: NDArray[Any], b: NDArray[Any]) -> None:
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise DataError(f"two models are compared image by image: {np.shape(a)} and {np.shape(b)} do not pair")
