"""The checks and counts that all classification scores share."""

import numpy as np
import pytest
import torch

from sslkit import (
    Arrays,
    DataError,
    NonFiniteError,
    SslkitError,
    balanced_holdout,
    count_classes,
    knn,
    linear,
    logistic_regression,
    training_features,
)
from sslkit.builtin.evaluations import knn as knn_module
from sslkit.builtin.evaluations import principal_axes


def test_classes_are_the_declared_ones(make_data):
    labels = torch.tensor([0, 3])
    assert count_classes(make_data(10), labels) == 10
    with pytest.raises(DataError, match="declares 3 classes, but has a label 3"):
        count_classes(make_data(3), labels)
    several = torch.zeros(2, 4, dtype=torch.int8)
    assert count_classes(make_data(4), several) == 4
    for given in (labels, several):
        with pytest.raises(DataError, match="num_classes is None"):
            count_classes(make_data(None), given)
    with pytest.raises(DataError, match=r"number of classes: \[3, 4\]"):
        count_classes(make_data(3), several)
    with pytest.raises(DataError, match="must agree"):
        count_classes(make_data(4), several, labels)


def test_held_out_images_are_a_seeded_share_of_each_class():
    labels = torch.tensor([0] * 40 + [1] * 13 + [2] * 2 + [4])
    held = balanced_holdout(labels, 0.1, seed=1)
    assert labels[held].bincount(minlength=5).tolist() == [4, 1, 1, 0, 0]
    assert torch.equal(held, balanced_holdout(labels, 0.1, seed=1))
    assert not torch.equal(held, balanced_holdout(labels, 0.1, seed=2))
    assert balanced_holdout(torch.zeros(60, 3, dtype=torch.int8), 0.1, seed=1).sum() == 6
    with pytest.raises(DataError, match="learning_rates"):
        balanced_holdout(torch.arange(5), 0.1, seed=1)


def test_what_may_be_learned_from(make_data, make_pretrained, make_blobs):
    train, validation = make_blobs(60, 3, 4, 1.0), make_blobs(20, 3, 4, 1.0, seed=1)
    features, held = training_features(make_pretrained(), make_data(3, train=train, validation=validation), None)
    assert torch.equal(features.values, torch.cat([train[0], validation[0]]))
    assert torch.equal(features.labels, torch.cat([train[1], validation[1]]))
    assert held.tolist() == [False] * 60 + [True] * 20
    features, held = training_features(make_pretrained(seed=4), make_data(3, train=train), 0.2)
    assert torch.equal(features.values, train[0])
    assert torch.equal(held, balanced_holdout(train[1], 0.2, 4))
    assert not training_features(make_pretrained(), make_data(3, train=train), None)[1].any()


@pytest.mark.parametrize("evaluation", [knn, linear, logistic_regression])
def test_an_odd_number_of_test_images_counts_whole_whatever_the_threads_and_batches(
    make_data, make_pretrained, make_blobs, monkeypatch, evaluation
):
    train, test = make_blobs(240, 7, 6, 1.5), make_blobs(101, 7, 6, 1.5, seed=1)
    data = make_data(7, train=train, test=test)
    options = {linear: {"epochs": 5}, knn: {"k": 9}, logistic_regression: {"l2_values": (1e-3, 1e-1, 10.0)}}
    threads = torch.get_num_threads()
    found = []
    try:
        for number, batch in ((1, 32), (2, 100), (1, 1000)):
            torch.set_num_threads(number)
            monkeypatch.setattr(knn_module, "_CHUNK_NUMBERS", batch * 240)
            monkeypatch.setattr(principal_axes, "_ROWS", batch)
            found.append(evaluation(**options[evaluation])(make_pretrained(), data))
    finally:
        torch.set_num_threads(threads)
    for outcome in found:
        assert outcome.metrics["n"] == 101
        for metric in ("top1", "top5"):
            assert (outcome.metrics[metric] * 101) == pytest.approx(round(outcome.metrics[metric] * 101), abs=1e-9)
            assert outcome.metrics[metric] == found[0].metrics[metric]
        assert outcome.metrics["mean_per_class"] == found[0].metrics["mean_per_class"]
    assert 0.4 < found[0].metrics["top1"] < 0.95


@pytest.mark.parametrize("evaluation", [knn, linear, logistic_regression])
def test_three_runs_are_equal_byte_for_byte(make_data, make_pretrained, make_blobs, evaluation):
    data = make_data(7, train=make_blobs(240, 7, 6, 1.5), test=make_blobs(101, 7, 6, 1.5, seed=1))
    options = {"epochs": 5} if evaluation is linear else {}
    outcomes = [evaluation(**options)(make_pretrained(), data) for _ in range(3)]
    for outcome in outcomes[1:]:
        assert outcome.metrics == outcomes[0].metrics
        assert {name: values.tobytes() for name, values in outcome.predictions.items()} == {
            name: values.tobytes() for name, values in outcomes[0].predictions.items()
        }


@pytest.mark.parametrize("evaluation", [knn, linear, logistic_regression])
@pytest.mark.parametrize(
    ("split", "values", "labels", "error", "message"),
    [
        ("train", torch.ones(4, 2), torch.tensor([0, 1, -1, -1]), DataError, 'of 4 images of the split "train"'),
        ("test", torch.ones(4, 2), torch.full((4,), -1), DataError, 'of 4 images of the split "test"'),
        ("train", torch.ones(4, 2), torch.ones(4, 3, dtype=torch.int8), DataError, "several"),
        ("test", torch.ones(0, 2), torch.ones(0, dtype=torch.int64), DataError, "no images"),
        ("train", torch.tensor([[1.0, np.nan], [0.0, 1.0]]), torch.tensor([0, 1]), NonFiniteError, "1 of 2 images"),
    ],
)
def test_features_that_cannot_be_scored_are_refused(
    make_data, make_pretrained, evaluation, split, values, labels, error, message
):
    good = (torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 1]))
    data = make_data(2, **{"train": good, "test": good, split: (values, labels)})
    with pytest.raises(error, match=message) as caught:
        evaluation()(make_pretrained(), data)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SslkitError)


def drawn(labels):
    return np.zeros((len(labels), 8, 8, 3), dtype=np.uint8), np.array(labels)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": [0, 0, 0], "test": [0, 0]}, "the data has a single class"),
        ({"train": [0, -1, 1], "test": [0, 1]}, '1 of 3 images of the split "train" have no label'),
        ({"train": [0, 1], "test": [0, 1, -1]}, '1 of 3 images of the split "test" have no label'),
    ],
)
@pytest.mark.parametrize("evaluation", [linear, knn, logistic_regression])
def test_labels_that_cannot_be_scored_show_before_a_run(evaluation, splits, said):
    with pytest.raises(DataError, match=said):
        evaluation().check(None, "h", Arrays.of(**{name: drawn(labels) for name, labels in splits.items()}))


def test_several_labels_are_for_those_that_take_them_and_validation_for_those_that_learn_from_it(make_tagged):
    several = make_tagged("train", "test")
    linear().check(None, "h", several)
    logistic_regression().check(None, "h", several)
    with pytest.raises(DataError, match='the split "train" has several labels per image'):
        knn().check(None, "h", several)
    unlabelled = Arrays.of(train=drawn([0, 1]), validation=drawn([-1, -1]), test=drawn([0, 1]))
    knn().check(None, "h", unlabelled)
    for evaluation in (linear, logistic_regression):
        with pytest.raises(DataError, match='2 of 2 images of the split "validation" have no label'):
            evaluation().check(None, "h", unlabelled)
