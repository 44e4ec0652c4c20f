"""Cross-entropy against literal sums, for one and for several labels an image, and what it refuses."""

import math

import pytest
import torch

from sslkit import CrossEntropy, DataError, JointEmbedding
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.objectives import cross_entropy


def logits_of(count, num_classes, seed=0):
    return torch.randn(count, num_classes, generator=torch.Generator().manual_seed(seed)) * 2


def literal(logits, labels, smoothing):
    total = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        for number, value in enumerate(row):
            target = (1 - smoothing) * (number == label) + smoothing / len(row)
            total += target * (log_sum - value)
    return total / len(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_mean_over_images_and_views(smoothing):
    labels = torch.tensor([0, 3, 1, 1])
    views = [logits_of(4, 5), logits_of(4, 5, seed=1)]
    loss, metrics = CrossEntropy(label_smoothing=smoothing)(views, labels)
    expected = sum(literal(view, labels, smoothing) for view in views) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    hits = [int(view[row].argmax() == labels[row]) for view in views for row in range(4)]
    assert float(metrics["top1"]) == sum(hits) / 8


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_of_several_labels_the_means_of_all_classes_are_added_up_without_the_difficult(smoothing):
    labels = torch.tensor([[1, 0, -1], [0, -1, -1], [1, 1, 0]], dtype=torch.int8)
    views = [logits_of(3, 3), logits_of(3, 3, seed=1)]
    loss, metrics = CrossEntropy(label_smoothing=smoothing)(views, labels)
    expected = 0.0
    for column in range(3):
        terms = []
        for view in views:
            for row in range(3):
                label, probability = int(labels[row, column]), 1 / (1 + math.exp(-float(view[row, column])))
                target = label * (1 - smoothing) + smoothing / 2
                if label >= 0:
                    terms.append(-target * math.log(probability) - (1 - target) * math.log(1 - probability))
        assert len(terms) == [6, 4, 2][column]
        expected += sum(terms) / len(terms)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert metrics == {}


def test_several_labels_weigh_as_in_the_linear_evaluations():
    labels = torch.tensor([[1, 0, -1, -1], [0, -1, -1, -1], [1, 1, 0, -1]], dtype=torch.int8)
    logits = logits_of(3, 4)
    losses, residuals = class_loss(labels)(logits[:, None].clone())
    leaf = logits.requires_grad_()
    loss, _ = CrossEntropy()([leaf], labels)
    loss.backward()
    assert loss.item() == pytest.approx(float(losses.mean()), rel=1e-5)
    torch.testing.assert_close(leaf.grad, residuals[:, 0] / 3)


def test_nothing_but_difficult_labels_is_a_loss_of_zero():
    loss, _ = CrossEntropy()([logits_of(2, 3).requires_grad_()], torch.full((2, 3), -1))
    assert loss.item() == 0


def test_the_default_method_gives_it_labels():
    assert JointEmbedding(torch.nn.Identity(), None, CrossEntropy()).wanted == ("labels",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, -1, 2, -1]), "2 of 4 images of a batch have no label"),
        (torch.tensor([0, 1, 2, 5]), "a label 5, but the head 5 outputs"),
        (torch.zeros(4, 3, dtype=torch.int8), "3 labels an image, the head 5 outputs"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    objective = CrossEntropy()
    objective([logits_of(4, 5)], torch.tensor([0, 1, 2, 3]))  # a good batch first: every batch is looked at
    with pytest.raises(DataError, match=message):
        objective([logits_of(4, 5)], labels)


def test_where_nobody_looks_a_missing_label_stops_the_run(monkeypatch):
    monkeypatch.setattr(cross_entropy, "_require_labels", lambda labels, num_outputs: None)
    loss, _ = CrossEntropy()([logits_of(4, 5)], torch.tensor([0, -1, 2, 1]))
    assert loss.isnan()
