"""The metrics of all classifications, against literal forms."""

import numpy as np
import pytest
import torch

from sslkit import DataError, classification_outcome
from sslkit.builtin.evaluations.classification import label_ranks


class Named:
    num_classes = class_names = None

    def __init__(self, metric=None):
        if metric:
            self.metric = metric


def test_ranks_put_equal_scores_in_the_order_of_classes():
    scores = torch.tensor([[1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 1.0, 2.0, 1.0]])
    for label, expected in enumerate([[2, 0, 0], [0, 1, 2], [1, 2, 1], [3, 3, 3]]):
        assert label_ranks(scores, torch.full((3,), label)).tolist() == expected
    assert label_ranks(torch.full((1, 3), np.nan), torch.tensor([0])).item() == 3
    assert label_ranks(torch.tensor([[np.nan, 1.0, 0.0]]), torch.tensor([2])).item() == 1


def test_accuracies_are_the_literal_ones():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(5, (101, 9), generator=generator).float()  # many ties
    labels = torch.randint(8, (101,), generator=generator)  # the last class is absent
    outcome = classification_outcome(scores, labels, Named())
    first, in_five, by_class = 0, 0, {}
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        order = sorted(range(9), key=lambda c, row=row: (-row[c], c))
        first += order[0] == label
        in_five += label in order[:5]
        by_class.setdefault(label, []).append(order[0] == label)
    assert outcome.headline == "top1"
    assert outcome.metrics["top1"] == first / 101
    assert outcome.metrics["top5"] == in_five / 101
    per_class = [np.mean(hits) for hits in by_class.values()]
    assert outcome.metrics["mean_per_class"] == pytest.approx(np.mean(per_class), abs=1e-12)
    assert (outcome.metrics["n"], outcome.metrics["absent_classes"]) == (101, 1)
    assert outcome.predictions["top5"].sum() == in_five
    assert (outcome.predictions["predicted"] == outcome.predictions["label"]).sum() == first
    assert {name: values.dtype for name, values in outcome.predictions.items()} == {
        "predicted": np.int64,
        "label": np.int64,
        "top5": bool,
    }


def test_accuracies_are_those_of_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    scores = torch.rand(101, 9, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(9, (101,), generator=torch.Generator().manual_seed(1))
    metrics = classification_outcome(scores, labels, Named()).metrics
    for name, options in {"top1": {"average": "micro"}, "top5": {"average": "micro", "top_k": 5}}.items():
        assert metrics[name] == pytest.approx(float(torchmetrics.multiclass_accuracy(scores, labels, 9, **options)))
    expected = float(torchmetrics.multiclass_accuracy(scores, labels, 9, average="macro"))
    assert metrics["mean_per_class"] == pytest.approx(expected)


def test_a_class_whose_score_is_not_a_number_is_not_named():
    scores = torch.tensor([[np.nan, 0.2, 0.1, np.nan, np.nan, np.nan], [np.nan] * 6])
    outcome = classification_outcome(scores, torch.tensor([0, 0]), Named())
    assert outcome.predictions["predicted"].tolist() == [1, -1]
    assert outcome.metrics["top1"] == outcome.metrics["top5"] == outcome.metrics["mean_per_class"] == 0.0


def test_five_classes_or_fewer_have_no_top5():
    outcome = classification_outcome(torch.eye(5), torch.arange(5), Named())
    assert set(outcome.metrics) == {"top1", "mean_per_class", "n"}
    assert set(outcome.predictions) == {"predicted", "label"}


def test_the_metric_of_the_data_leads():
    assert classification_outcome(torch.eye(3), torch.arange(3), Named("mean_per_class")).headline == "mean_per_class"
    several = torch.eye(3, dtype=torch.int8)
    outcome = classification_outcome(torch.eye(3), several, Named())
    assert (outcome.headline, outcome.metrics) == ("voc_map", {"voc_map": 1.0, "n": 3.0})
    assert outcome.predictions["scores"].dtype == np.float32
    assert outcome.predictions["label"].dtype == np.int8
    with pytest.raises(DataError, match='metric = "voc_map": data with one label per image'):
        classification_outcome(torch.eye(3), torch.arange(3), Named("voc_map"))
    with pytest.raises(DataError, match='metric = "top1": data with several labels'):
        classification_outcome(torch.eye(3), several, Named("top1"))
