"""Intervals and tests against scipy, literal resampling and swapping, and laws that must hold."""

import time

import numpy as np
import pytest
import scipy.stats

from sslkit import DataError, bootstrap_interval
from sslkit.studies.scores import correct, score
from sslkit.studies.significance import mcnemar, mean_and_deviation, permutation_test


def single(n=400, classes=6, right=0.7, seed=0):
    generator = np.random.default_rng(seed)
    label = generator.choice(classes, n, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    predicted = np.where(generator.random(n) < right, label, generator.integers(0, classes, n))
    return {"predicted": predicted, "label": label, "top5": predicted != 5}


def multi(n=80, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    label = generator.choice([1, 0, -1], (n, classes), p=[0.3, 0.6, 0.1]).astype(np.int8)
    return {"scores": (generator.normal(size=(n, classes)) + label).astype(np.float32), "label": label}


def literal_interval(metric, predictions, resamples):
    """Draw images one by one, and score each test set anew."""
    generator = np.random.default_rng(1)
    n = len(predictions["label"])
    draws = [generator.integers(0, n, n) for _ in range(resamples)]
    values = [score(metric, {name: array[draw] for name, array in predictions.items()}) for draw in draws]
    return np.quantile(values, [0.025, 0.975])


@pytest.mark.parametrize(
    ("metric", "predictions"),
    [("top1", single()), ("top5", single()), ("mean_per_class", single()), ("voc_map", multi())],
)
def test_the_interval_is_that_of_literal_resampling(metric, predictions):
    low, high = bootstrap_interval(metric, predictions)
    expected = literal_interval(metric, predictions, 1500)
    assert low <= score(metric, predictions) <= high
    np.testing.assert_allclose([low, high], expected, atol=0.1 * (high - low))


def test_the_interval_of_a_rare_class_counts_resamples_without_it():
    predictions = {"predicted": np.array([*[0] * 30, 0]), "label": np.array([*[0] * 30, 1])}
    # A third of the test sets has no image of class 1, and is right everywhere.
    assert bootstrap_interval("mean_per_class", predictions) == (0.5, 1.0)


def test_the_interval_of_several_targets_is_that_of_literal_resampling():
    generator = np.random.default_rng(0)
    predictions = {f"label_{target}": generator.integers(0, 2, 300) for target in "abc"}
    for target in "abc":
        label = predictions[f"label_{target}"]
        predictions[f"predicted_{target}"] = np.where(generator.random(300) < 0.8, label, 1 - label)
    values = []
    for _ in range(1500):
        draw = generator.integers(0, 300, 300)
        values.append(score("mean_accuracy", {name: array[draw] for name, array in predictions.items()}))
    low, high = bootstrap_interval("mean_accuracy", predictions)
    np.testing.assert_allclose([low, high], np.quantile(values, [0.025, 0.975]), atol=0.1 * (high - low))


@pytest.mark.parametrize(("n", "right"), [(1, True), (41, True), (41, False), (10_000, True)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_where_all_images_agree_the_bounds_are_wilsons(n, right, confidence):
    label = np.arange(n) % 5
    predictions = {"predicted": label + (not right), "label": label, "top5": np.full(n, right)}
    expected = scipy.stats.binomtest(n * right, n).proportion_ci(confidence, method="wilson")
    for metric in ("top1", "top5"):
        assert bootstrap_interval(metric, predictions, confidence=confidence) == pytest.approx(expected, abs=1e-12)


def test_classes_that_are_all_right_or_all_wrong_are_as_sure_as_their_images_are_many():
    def bounds(sizes, right):
        label = np.repeat(np.arange(len(sizes)), sizes)
        return bootstrap_interval("mean_per_class", {"predicted": np.where(right[label], label, -1), "label": label})

    equal = scipy.stats.binomtest(60, 120).proportion_ci(method="wilson")
    assert bounds([30, 30, 30, 30], np.array([True, True, False, False])) == pytest.approx(equal, abs=1e-12)
    # Means of two fractions, of 3 and of 6 images, vary as one of 4 / (1/3 + 1/6) = 8.
    unequal = scipy.stats.binomtest(8, 8).proportion_ci(method="wilson")
    assert bounds([3, 6], np.array([True, True])) == pytest.approx(unequal, abs=1e-12)


def test_perfect_ranking_of_few_images_is_not_sure():
    label = np.zeros((20, 2), dtype=np.int8)
    label[:4, 0] = label[4:8, 1] = 1
    low, high = bootstrap_interval("voc_map", {"scores": label.astype(np.float32), "label": label})
    assert (low, high) == pytest.approx(scipy.stats.binomtest(8, 8).proportion_ci(method="wilson"), abs=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_the_interval_of_average_precision_reaches_the_score(seed):
    generator = np.random.default_rng(seed)
    label = (generator.random((6, 2)) < 0.4).astype(np.int8)
    label[0] = 1
    predictions = {"scores": generator.normal(size=label.shape).astype(np.float32), "label": label}
    low, high = bootstrap_interval("voc_map", predictions, resamples=100, confidence=0.2)
    assert 0 <= low <= score("voc_map", predictions) <= high <= 1


def test_the_interval_is_the_same_each_time_and_wider_with_more_confidence():
    first, again = (bootstrap_interval("top1", single()) for _ in range(2))
    wide = bootstrap_interval("top1", single(), confidence=0.99)
    assert first == again
    assert wide[0] < first[0] < first[1] < wide[1]


def test_intervals_of_a_large_test_set_take_seconds_at_most():
    predictions = single(50_000, 500)
    started = time.monotonic()
    for metric in ("top1", "mean_per_class"):
        bootstrap_interval(metric, predictions)
    assert time.monotonic() - started < 10  # resampling image by image takes minutes


def pair(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (3, 3), (2, 9), (30, 14), (260, 200), (3000, 2890), (40_000, 39_000)]
)
def test_mcnemar_equals_the_exact_binomial_test_of_scipy(only_a, only_b):
    expected = 1.0 if only_a == only_b == 0 else scipy.stats.binomtest(only_a, only_a + only_b).pvalue
    assert mcnemar(*pair(7, only_a, only_b, 5)) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(*pair(7, only_b, only_a, 5)) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_a_hopeless_difference_is_no_error():
    assert mcnemar(*pair(0, 50_000, 0, 0)) == 0.0


@pytest.mark.parametrize(("only_a", "only_b"), [(3, 3), (2, 9), (30, 14), (55, 40), (260, 200)])
def test_the_permutation_test_equals_mcnemar_within_its_own_error(only_a, only_b):
    a, b = pair(100, only_a, only_b, 50)
    exact = mcnemar(a, b)
    error = 4 * np.sqrt(exact * (1 - exact) / 100_000) + 2 / 100_000
    assert abs(permutation_test(a, b) - exact) <= error


def literal_permutation_test(a, b, swaps):
    """Swap image by image."""
    generator = np.random.default_rng(1)
    observed = abs(np.mean(a) - np.mean(b))
    as_large = 1
    for _ in range(swaps):
        swap = generator.random(len(a)) < 0.5
        as_large += abs(np.mean(np.where(swap, b, a)) - np.mean(np.where(swap, a, b))) >= observed - 1e-12
    return as_large / (swaps + 1)


@pytest.mark.parametrize("metric", ["top1", "mean_per_class", "voc_map"])
def test_the_permutation_test_equals_literal_swaps(metric):
    make = multi if metric == "voc_map" else single
    first = make(seed=0)
    second = make(seed=3) | {"label": first["label"]}
    if metric == "voc_map":
        second["scores"] = first["scores"] + np.random.default_rng(5).normal(size=first["scores"].shape)
    else:
        second["predicted"] = np.where(np.random.default_rng(4).random(400) < 0.9, first["predicted"], 0)
    a, b = correct(metric, first), correct(metric, second)
    expected = literal_permutation_test(a, b, 4000)
    assert 0 < expected < 0.9
    assert permutation_test(a, b) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000) + 1e-3)


def test_equal_models_are_not_different_and_p_is_never_zero():
    a, b = pair(10, 0, 0, 10)
    assert permutation_test(a, b) == 1.0
    assert permutation_test(*pair(0, 5000, 0, 0)) == pytest.approx(1 / 100_001)


def test_a_tie_is_not_lost_to_the_rounding_of_a_sum():
    a = np.full(7, 0.913)  # summed, they are less than 7 times as much
    assert permutation_test(a, np.zeros(7)) == pytest.approx(2 / 2**7, abs=0.002)


def test_averages_over_seeds_are_tested_too():
    a, b = np.array([1 / 3, 2 / 3, 1, 1] * 20), np.array([0, 1 / 3, 1, 2 / 3] * 20)
    assert permutation_test(a, b) == permutation_test(b, a)
    assert permutation_test(a, b) < 1e-4


def test_p_is_uniform_when_there_is_no_difference():
    generator = np.random.default_rng(0)
    found = [permutation_test(*(generator.random((2, 300)) < 0.6), swaps=2000) for _ in range(400)]
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.08


def test_what_does_not_pair_is_refused():
    with pytest.raises(DataError, match=r"\(3,\) and \(4,\) do not pair"):
        permutation_test(np.ones(3), np.ones(4))
    with pytest.raises(DataError, match="right or wrong"):
        mcnemar(np.ones(3), np.ones(3))


def test_the_deviation_is_that_of_a_sample():
    assert mean_and_deviation([0.5, 0.7]) == (pytest.approx(0.6), pytest.approx(0.1 * 2**0.5))
    assert mean_and_deviation([0.5]) == (0.5, None)
