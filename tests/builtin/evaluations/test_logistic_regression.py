"""Logistic regression against scikit-learn's optimum, in float64 and to a far smaller tolerance."""

import logging

import numpy as np
import pytest
import torch

from sslkit import DataError, SslkitError, logistic_regression
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.l2_path import fit_path
from sslkit.builtin.evaluations.logistic_regression import L2_VALUES
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes


def fitted(values, labels, num_classes, l2_values, at_once=1, tolerance=1e-5, max_iterations=2000):
    """Return the fits, and their scores of the features they were fitted to."""
    features = PrincipalAxes.of(values).lay(values, torch.device("cpu"))
    fits = fit_path(
        features,
        class_loss(labels),
        num_classes,
        l2_values,
        tolerance=tolerance,
        max_iterations=max_iterations,
        at_once=at_once,
    )
    return fits, [features @ fit.weights for fit in fits]


def optimum(values, labels, l2):
    """Return scikit-learn's smallest objective and its scores; two classes get a column each."""
    sklearn = pytest.importorskip("sklearn.linear_model")
    num_classes, scale = int(labels.max()) + 1, 1.0
    if num_classes == 2:
        scale = 2.0
    strength = scale / (l2 * len(values))
    model = sklearn.LogisticRegression(C=strength, tol=1e-9, max_iter=100_000, solver="newton-cg")
    model.fit(values.double().numpy(), labels.numpy())
    weights, bias = torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_)
    if num_classes == 2:
        weights, bias = torch.cat([-weights, weights], dim=1) / 2, torch.cat([-bias, bias]) / 2
    scores = values.double() @ weights + bias
    loss = torch.nn.functional.cross_entropy(scores, labels)
    return float(loss + l2 / 2 * weights.square().sum()), scores


def spectrum(values, decades):
    """Return features whose columns differ in scale by some decades, mixed by a rotation, away from the origin."""
    dim = values.shape[1]
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(7))).Q
    return (values * torch.logspace(decades / 2, -decades / 2, dim)) @ rotation + 3.0


@pytest.mark.parametrize("decades", [0, 3])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_objective_is_scikit_learn_s_smallest(make_blobs, num_classes, decades):
    values, labels = make_blobs(201, num_classes, 8, 2.5)
    values = spectrum(values, decades)
    strengths = (1e-6, 1e-4, 1e-2, 1.0, 1e5)
    fits, scores = fitted(values, labels, num_classes, strengths)
    for l2, fit, found in zip(strengths, fits, scores, strict=True):
        smallest, expected = optimum(values, labels, l2)
        assert fit.converged
        assert fit.excess <= 1e-5
        assert smallest * (1 - 2e-6) <= fit.objective <= smallest * (1 + 1e-5), l2
        centred, expected = (part - part.mean(dim=1, keepdim=True) for part in (found.double(), expected))
        gaps = expected.topk(2, dim=1).values
        clear = gaps[:, 0] - gaps[:, 1] > 0.01 * expected.abs().mean()
        assert clear.float().mean() > 0.9
        assert torch.equal(centred.argmax(dim=1)[clear], expected.argmax(dim=1)[clear])


def test_separable_classes_are_solved_as_exactly(make_blobs):
    values, labels = make_blobs(150, 4, 8, 0.2)
    fits, _ = fitted(values, labels, 4, (1e-6,))
    assert fits[0].objective == pytest.approx(optimum(values, labels, 1e-6)[0], rel=1e-4)
    assert fits[0].objective < 2e-3


def test_more_dimensions_than_images(make_blobs):
    values, labels = make_blobs(40, 3, 90, 3.0)
    fits, scores = fitted(values, labels, 3, (1e-3, 1.0))
    for l2, fit, found in zip((1e-3, 1.0), fits, scores, strict=True):
        smallest, expected = optimum(values, labels, l2)
        assert fit.objective == pytest.approx(smallest, rel=1e-5)
        assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))


def test_strengths_solved_together_are_those_solved_one_after_the_other(make_blobs):
    values, labels = make_blobs(160, 6, 8, 2.0)
    strengths = (1e-4, 10.0, 1e-2, 1e-6, 1.0)
    alone, _ = fitted(values, labels, 6, strengths)
    for at_once in (2, 5):
        together, _ = fitted(values, labels, 6, strengths, at_once)
        assert all(fit.converged for fit in together)
        for one, other in zip(alone, together, strict=True):
            assert other.objective == pytest.approx(one.objective, rel=2e-5)


def test_too_few_iterations_are_told(make_blobs):
    values, labels = make_blobs(160, 6, 8, 2.0)
    [fit], _ = fitted(values, labels, 6, (1e-6,), max_iterations=3)
    assert (fit.iterations, fit.converged) == (3, False)
    assert fit.objective <= (1 + fit.excess) * optimum(values, labels, 1e-6)[0]


def test_a_tolerance_beyond_float32_ends_when_steps_bring_nothing_more(make_blobs):
    values, labels = make_blobs(160, 6, 8, 2.0)
    [fit], _ = fitted(values, labels, 6, (1e-6,), tolerance=1e-30)
    assert fit.converged
    assert fit.excess > 1e-30
    assert fit.iterations < 1000
    assert fit.objective == pytest.approx(optimum(values, labels, 1e-6)[0], rel=1e-6)


def test_several_labels_are_one_regression_per_class_without_its_difficult_images(make_blobs):
    sklearn = pytest.importorskip("sklearn.linear_model")
    values, classes = make_blobs(180, 4, 8, 2.0)
    labels = torch.zeros(180, 4, dtype=torch.int8)
    labels[torch.arange(180), classes] = 1
    labels[torch.arange(180), (classes + torch.arange(180) % 3) % 4] = 1
    labels[torch.rand(180, 4, generator=torch.Generator().manual_seed(3)) < 0.15] = -1
    for l2 in (1e-4, 1e-1):
        [fit], [scores] = fitted(values, labels, 4, (l2,))
        smallest = 0.0
        for c in range(4):
            counted = labels[:, c] >= 0
            x, y = values[counted].double().numpy(), labels[counted, c].numpy()
            model = sklearn.LogisticRegression(C=1 / (l2 * len(x)), tol=1e-9, max_iter=10_000, solver="newton-cg")
            model.fit(x, y)
            expected = torch.from_numpy(model.decision_function(values.double().numpy()))
            torch.testing.assert_close(scores[:, c].double(), expected, rtol=0.02, atol=0.02)
            margins = torch.from_numpy(model.decision_function(x) * (2.0 * y - 1))
            smallest += float(torch.nn.functional.softplus(-margins).mean() + l2 / 2 * (model.coef_**2).sum())
        assert fit.objective == pytest.approx(smallest, rel=1e-5)


def test_several_labels_end_to_end(make_data, make_pretrained, make_blobs):
    def part(num, seed):
        values, classes = make_blobs(num, 3, 6, 0.3, seed)
        labels = torch.nn.functional.one_hot(classes, 5).to(torch.int8)
        labels[:, 3] = labels[:, 0] | labels[:, 1]
        labels[::7, 0] = -1
        return values, labels  # nothing shows the last class

    data = make_data(5, train=part(120, 0), validation=part(60, 1), test=part(77, 2))
    outcome = logistic_regression(l2_values=(1e-3, 1e3))(make_pretrained(), data)
    assert outcome.headline == "voc_map"
    assert outcome.metrics["voc_map"] > 0.99
    assert (outcome.metrics["n"], outcome.metrics["absent_classes"]) == (77, 1)
    assert outcome.predictions["scores"].shape == outcome.predictions["label"].shape == (77, 5)
    assert (outcome.predictions["scores"][:, 4] == -1).all()


def test_the_paper_s_strengths():
    assert len(L2_VALUES) == 45
    assert (L2_VALUES[0], L2_VALUES[-1]) == (1e-6, 1e5)
    assert np.log10(L2_VALUES) == pytest.approx(np.linspace(-6, 5, 45))


def contradictory(seed, first_is_right):
    """Return features of which training believes both columns, and another split one of the two.

    The first column is wide but wrong in one of ten training images, the second narrow and always right: strong
    regularisation reads the first, weak the second.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (400,), generator=generator)
    sign = labels * 2.0 - 1.0
    noise = torch.where(torch.rand(400, generator=generator) < 0.5, 1.0, -1.0)
    mostly = torch.where(torch.rand(400, generator=generator) < 0.9, sign, -sign)
    first, second = {None: (mostly, sign), True: (sign, noise), False: (noise, sign)}[first_is_right]
    return torch.stack([first, 0.1 * second], dim=1), labels


@pytest.mark.parametrize("first_is_right", [True, False])
def test_the_strength_is_chosen_on_validation_images(make_data, make_pretrained, caplog, first_is_right):
    data = make_data(
        2,
        train=contradictory(0, None),
        validation=contradictory(1, first_is_right),
        test=contradictory(2, not first_is_right),
    )
    with caplog.at_level(logging.WARNING, "sslkit"):
        outcome = logistic_regression(l2_values=(1e-6, 1e-5, 1.0))(make_pretrained(), data)
    assert outcome.metrics["l2"] == (1.0 if first_is_right else 1e-6)
    assert outcome.metrics["validation_top1"] > 0.85
    assert outcome.metrics["at_edge"] == 1
    assert "edge of l2_values" in caplog.text


def test_the_chosen_strength_is_solved_again_on_training_and_validation_images(make_data, make_pretrained):
    # The third class occurs among the validation images only.
    train = (torch.eye(3)[[0, 1] * 10], torch.tensor([0, 1] * 10))
    everything = (torch.eye(3)[[0, 1, 2] * 10], torch.tensor([0, 1, 2] * 10))
    data = make_data(3, train=train, validation=everything, test=everything)
    outcome = logistic_regression()(make_pretrained(), data)
    assert outcome.metrics["validation_top1"] == pytest.approx(2 / 3)
    assert outcome.metrics["top1"] == outcome.metrics["converged"] == 1.0


def test_a_class_without_training_images_is_never_named(make_data, make_pretrained, make_blobs):
    values, labels = make_blobs(120, 7, 8, 0.5)
    seen = labels != 3
    data = make_data(7, train=(values[seen], labels[seen]), test=(values, labels))
    outcome = logistic_regression(l2_values=(1e-3, 1e-2))(make_pretrained(), data)
    assert 3 not in outcome.predictions["predicted"]
    assert not outcome.predictions["top5"][labels == 3].any()
    fits, _ = fitted(values[seen], labels[seen] - (labels[seen] > 3).long(), 6, (outcome.metrics["l2"],))
    assert outcome.metrics["objective"] == pytest.approx(fits[0].objective, rel=1e-5)


def test_the_metric_of_the_data_chooses_and_leads(make_data, make_pretrained):
    # Few images are of the second class, and all of those show a 1. Weak regularisation names them, and wrongly some of
    # the first class too: more of them than there are of the second on the images to choose by.
    def part(num_second):
        values = torch.tensor([0.0] * 80 + [1.0] * 20)[:, None]
        return values, torch.tensor([0] * (100 - num_second) + [1] * num_second)

    data = make_data(2, train=part(12), validation=part(8), test=part(8))
    for metric, l2, value in (("top1", 1e5, 0.92), ("mean_per_class", 1e-6, (1 + 80 / 92) / 2)):
        data.metric = metric
        outcome = logistic_regression(l2_values=(1e-6, 1e5))(make_pretrained(), data)
        assert (outcome.headline, outcome.metrics["l2"]) == (metric, l2)
        assert outcome.metrics[f"validation_{metric}"] == pytest.approx(value)


def test_one_class_is_refused(make_data, make_pretrained):
    part = (torch.eye(4), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="same class") as caught:
        logistic_regression()(make_pretrained(), make_data(2, train=part, test=part))
    assert isinstance(caught.value, SslkitError)


def test_collapsed_features_score_at_chance(make_data, make_pretrained):
    part = (torch.ones(40, 3), torch.tensor([0, 1, 1, 1] * 10))
    outcome = logistic_regression()(make_pretrained(), make_data(2, train=part, test=part))
    assert outcome.metrics["top1"] == 0.75
