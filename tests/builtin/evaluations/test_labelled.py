"""The checks and counts that all classification scores share."""

import numpy as np
import pytest
import torch

from sslkit import DataError, NonFiniteError, SslkitError, knn, linear
from sslkit.builtin.evaluations.labelled import count_classes, label_ranks


def test_ranks_put_equal_scores_in_the_order_of_classes():
    scores = torch.tensor([[1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 1.0, 2.0, 1.0]])
    for label, expected in enumerate([[2, 0, 0], [0, 1, 2], [1, 2, 1], [3, 3, 3]]):
        assert label_ranks(scores, torch.full((3,), label)).tolist() == expected
    assert label_ranks(torch.full((1, 3), np.nan), torch.tensor([0])).item() == 3


def test_classes_are_the_declared_ones_or_those_seen(make_data):
    labels = torch.tensor([0, 3])
    assert count_classes(make_data(None), labels, torch.tensor([5])) == 6
    assert count_classes(make_data(10), labels) == 10
    with pytest.raises(DataError, match="declares 3 classes, but has a label 3"):
        count_classes(make_data(3), labels)


@pytest.mark.parametrize("evaluation", [knn, linear])
@pytest.mark.parametrize(
    ("split", "values", "labels", "error", "message"),
    [
        ("train", torch.ones(4, 2), torch.tensor([0, 1, -1, -1]), DataError, 'of 4 images of the split "train"'),
        ("test", torch.ones(4, 2), torch.full((4,), -1), DataError, 'of 4 images of the split "test"'),
        ("train", torch.ones(4, 2), torch.ones(4, 3, dtype=torch.int8), DataError, "several labels"),
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
