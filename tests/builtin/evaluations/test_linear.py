"""The linear evaluation against torch's own SGD, scikit-learn, and planted cases of selection."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from sslkit import NonFiniteError, linear
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.sgd_grid import Setting, train_classifiers


def literal_classifier(features, labels, num_classes, setting, epochs, batch_size, seed):
    """Train one classifier with autograd, torch.optim.SGD and its schedule, in float64."""
    features = features.double()
    weight = nn.Parameter(torch.zeros(features.shape[1] - 1, num_classes, dtype=torch.float64))
    bias = nn.Parameter(torch.zeros(num_classes, dtype=torch.float64))
    groups = [{"params": [weight], "weight_decay": setting.weight_decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=setting.learning_rate, momentum=0.9, nesterov=True)
    num_batches = math.ceil(len(features) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * num_batches)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for part in torch.randperm(len(features), generator=generator).tensor_split(num_batches):
            optimizer.zero_grad()
            nn.functional.cross_entropy(features[part, :-1] @ weight + bias, labels[part]).backward()
            optimizer.step()
            schedule.step()
    return torch.cat([weight.detach(), bias.detach()[None]])


def with_ones(values):
    return torch.cat([values, torch.ones(len(values), 1)], dim=1)


def test_every_classifier_of_the_grid_is_torch_s_own_after_the_last_epoch(make_blobs):
    values, labels = make_blobs(101, 4, 6, 1.0)
    features = with_ones(values)
    settings = [Setting(0.03, 0.0), Setting(0.3, 0.0), Setting(0.3, 0.02)]
    everything = torch.arange(101)
    found = train_classifiers(features, class_loss(labels), everything, 4, settings, epochs=7, batch_size=16, seed=5)
    for classifier, setting in zip(found, settings, strict=True):
        expected = literal_classifier(features, labels, 4, setting, 7, 16, 5)
        torch.testing.assert_close(classifier.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_score_is_that_of_the_last_epoch(make_data, make_pretrained, make_blobs):
    train, test = make_blobs(150, 4, 6, 2.0), make_blobs(77, 4, 6, 2.0, seed=1)
    outcome = linear(learning_rates=(3.0,), epochs=9, batch_size=32)(
        make_pretrained(seed=3), make_data(4, train=train, test=test)
    )
    centre = train[0].mean(dim=0)
    norm = (train[0] - centre).norm(dim=1).square().mean().sqrt()
    features = [with_ones((values - centre) / norm) for values, _ in (train, test)]
    classifier = literal_classifier(features[0], train[1], 4, Setting(3.0 * 32 / 256, 0.0), 9, 32, 3)
    predicted = (features[1].double() @ classifier).argmax(dim=1)
    np.testing.assert_array_equal(outcome.predictions["predicted"], predicted.numpy())
    assert outcome.metrics["top1"] == int((predicted == test[1]).sum()) / 77
    assert "validation_top1" not in outcome.metrics


def test_separable_features_are_separated(make_data, make_pretrained, make_blobs):
    outcome = linear(epochs=30)(
        make_pretrained(),
        make_data(10, train=make_blobs(300, 10, 16, 0.2), test=make_blobs(101, 10, 16, 0.2, seed=1)),
    )
    assert outcome.metrics["top1"] == outcome.metrics["top5"] == 1.0
    assert outcome.metrics["n"] == 101


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e4, 0.0), (1e-4, 0.0), (1.0, 50.0)])
def test_accuracy_is_that_of_logistic_regression_at_any_scale(make_data, make_pretrained, make_blobs, scale, shift):
    sklearn = pytest.importorskip("sklearn.linear_model")
    train, test = make_blobs(1200, 8, 20, 2.2), make_blobs(1999, 8, 20, 2.2, seed=1)
    reference = sklearn.LogisticRegression(max_iter=500).fit(*(part.numpy() for part in train))
    expected = reference.score(test[0].numpy(), test[1].numpy())
    assert 0.6 < expected < 0.95
    moved = [((values + shift) * scale, labels) for values, labels in (train, test)]
    outcome = linear(epochs=40)(make_pretrained(), make_data(8, train=moved[0], test=moved[1]))
    assert outcome.metrics["top1"] == pytest.approx(expected, abs=0.015)


def planted(seed, first_is_right):
    """Return features whose label shows in a wide first column or in a narrow second one.

    In training the second column is always right and the first nine times in ten: a small learning rate reads
    the first, a large one the second. In the other splits only one of the two is right.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (400,), generator=generator)
    sign = labels * 2.0 - 1.0
    noise = torch.where(torch.rand(400, generator=generator) < 0.5, 1.0, -1.0)
    mostly = torch.where(torch.rand(400, generator=generator) < 0.9, sign, -sign)
    first, second = {None: (mostly, sign), True: (sign, noise), False: (noise, sign)}[first_is_right]
    return torch.stack([first, 0.1 * second], dim=1), labels


@pytest.mark.parametrize("first_is_right", [True, False])
def test_the_learning_rate_is_chosen_on_the_validation_split(make_data, make_pretrained, first_is_right):
    # The test split wants the opposite of what the validation split shows: a choice by either training or test
    # accuracy fails one of the two cases.
    data = make_data(
        2,
        train=planted(0, None),
        validation=planted(1, first_is_right),
        test=planted(2, not first_is_right),
    )
    outcome = linear(learning_rates=(0.01, 300.0), epochs=60)(make_pretrained(), data)
    assert outcome.metrics["learning_rate"] == (0.01 if first_is_right else 300.0)
    assert outcome.metrics["validation_top1"] > 0.85


def test_the_chosen_setting_is_trained_again_on_training_and_validation_images(make_data, make_pretrained):
    # The third class occurs among the validation images only.
    train = (torch.eye(3)[[0, 1] * 10], torch.tensor([0, 1] * 10))
    everything = (torch.eye(3)[[0, 1, 2] * 10], torch.tensor([0, 1, 2] * 10))
    outcome = linear(epochs=30)(make_pretrained(), make_data(3, train=train, validation=everything, test=everything))
    assert outcome.metrics["validation_top1"] == pytest.approx(2 / 3)
    assert outcome.metrics["top1"] == 1.0


def test_runs_repeat_and_leave_torch_s_generator_alone(make_data, make_pretrained, make_blobs):
    data = make_data(4, train=make_blobs(201, 4, 6, 2.0), test=make_blobs(77, 4, 6, 2.0, seed=1))
    torch.manual_seed(0)
    first = linear(epochs=5)(make_pretrained(seed=1), data)
    drawn = torch.rand(1)
    second = linear(epochs=5)(make_pretrained(seed=1), data)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert first.metrics == second.metrics
    np.testing.assert_array_equal(first.predictions["predicted"], second.predictions["predicted"])


def test_collapsed_features_score_at_chance(make_data, make_pretrained):
    part = (torch.ones(40, 3), torch.tensor([0, 1, 1, 1] * 10))
    outcome = linear(epochs=5)(make_pretrained(), make_data(2, train=part, test=part))
    assert outcome.metrics["top1"] == 0.75


def test_a_diverging_weight_decay_is_part_of_the_grid_and_never_chosen(make_data, make_pretrained, make_blobs):
    data = make_data(4, train=make_blobs(201, 4, 6, 1.0), test=make_blobs(77, 4, 6, 1.0, seed=1))
    decays = (1000.0, 0.0)
    outcome = linear(epochs=30, learning_rates=(1.0,), weight_decays=decays)(make_pretrained(), data)
    assert (outcome.metrics["learning_rate"], outcome.metrics["weight_decay"]) == (1.0, 0.0)
    assert outcome.metrics["top1"] > 0.7
    with pytest.raises(NonFiniteError, match="every classifier"):
        linear(epochs=30, weight_decays=(1000.0,))(make_pretrained(), data)


def literal_labels_classifier(features, labels, setting, epochs, batch_size, seed):
    """Train on several labels per image with autograd and torch.optim.SGD, in float64."""
    features = features.double()
    parameter = nn.Parameter(torch.zeros(features.shape[1], labels.shape[1], dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=setting.learning_rate, momentum=0.9, nesterov=True)
    num_batches = math.ceil(len(features) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * num_batches)
    generator = torch.Generator().manual_seed(seed)
    counted = (labels >= 0).double()
    for _ in range(epochs):
        for part in torch.randperm(len(features), generator=generator).tensor_split(num_batches):
            optimizer.zero_grad()
            losses = nn.functional.binary_cross_entropy_with_logits(
                features[part] @ parameter, (labels[part] == 1).double(), weight=counted[part], reduction="none"
            )
            (losses / counted.mean(dim=0)).sum(dim=1).mean().backward()
            optimizer.step()
            schedule.step()
    return parameter.detach()


def some_labels(num, seed):
    values = torch.randn(num, 6, generator=torch.Generator().manual_seed(seed))
    labels = (values[:, :4] + 0.3 * torch.randn(num, 4, generator=torch.Generator().manual_seed(seed + 1)) > 0.4).to(
        torch.int8
    )
    labels[torch.rand(num, 4, generator=torch.Generator().manual_seed(seed + 2)) < 0.2] = -1
    return values, labels


def test_several_labels_are_torch_s_masked_binary_cross_entropy():
    values, labels = some_labels(101, 0)
    features, setting = with_ones(values), Setting(0.3, 0.0)
    [found] = train_classifiers(features, class_loss(labels), torch.arange(101), 4, [setting], 7, 16, 5)
    expected = literal_labels_classifier(features, labels, setting, 7, 16, 5)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_several_labels_are_scored_by_average_precision(make_data, make_pretrained):
    data = make_data(4, train=some_labels(300, 0), test=some_labels(101, 5))
    outcome = linear(epochs=20)(make_pretrained(), data)
    assert outcome.headline == "voc_map"
    assert outcome.metrics["voc_map"] > 0.85
    assert outcome.metrics["validation_voc_map"] > 0.85
    assert outcome.predictions["scores"].shape == (101, 4)
