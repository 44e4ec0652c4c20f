"""Evaluations of weights on a CUDA device say what they say on the CPU, from the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import MLP, head_spectrum, histogram_shortcut, transform_probe

from sslkit import (
    Arrays,
    FrozenModel,
    Shapes,
    feature_health,
    fine_tune,
    knn,
    linear,
    linear_augmented,
    logistic_regression,
    timm_backbone,
)
from sslkit.builtin.evaluations.class_losses import class_loss
from sslkit.builtin.evaluations.factor_probe import factor_probe
from sslkit.builtin.evaluations.l2_path import fit_path
from sslkit.builtin.evaluations.logistic_regression import L2_VALUES
from sslkit.builtin.evaluations.principal_axes import PrincipalAxes

pytestmark = pytest.mark.gpu


def coloured(count, seed):
    """Return noisy images of eight colours, some alike, and which."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 8
    colours = np.random.default_rng(9).integers(60, 196, (8, 3, 1, 1))
    pixels = colours[labels] + generator.normal(0, 12, (count, 3, 1, 1)) + generator.normal(0, 40, (count, 3, 32, 32))
    return pixels.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1), labels


DATA = Arrays.of(train=coloured(600, 0), validation=coloured(150, 1), test=coloured(300, 2))


@pytest.fixture(autouse=True)
def precise():
    """Convolutions in float32, where torch's default is TF32: features are those of the CPU to five digits."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision = before


def model_on(device):
    torch.manual_seed(0)
    return FrozenModel(timm_backbone(model="test_resnet"), input_size=32, device=device, workers=0)


def outcomes(evaluation):
    """Return what an evaluation says on the CPU and on the device."""
    return [evaluation(model_on(device), DATA) for device in ("cpu", "cuda")]


def test_features_are_those_of_the_cpu():
    ours, theirs = (model_on(device).features(DATA, "test").values for device in ("cuda", "cpu"))
    assert not ours.is_cuda
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


NEAR = {
    "knn": (knn(k=20), 0.01),
    "linear": (linear(epochs=20), 0.02),
    "logistic_regression": (logistic_regression(), 0.02),
    "linear_augmented": (linear_augmented(epochs=6, batch_size=150, learning_rate=1.0), 0.03),
    "feature_health": (feature_health(view_images=100, views_per_image=5), None),
}


@pytest.mark.parametrize("name", NEAR)
def test_scores_are_those_of_the_cpu(name):
    evaluation, tolerance = NEAR[name]
    expected, found = outcomes(evaluation)
    assert found.headline == expected.headline
    assert found.metrics.keys() == expected.metrics.keys()
    wanted = expected.metrics[expected.headline]
    near = pytest.approx(wanted, rel=0.01) if tolerance is None else pytest.approx(wanted, abs=tolerance)
    assert found.metrics[found.headline] == near
    if tolerance is not None:
        assert wanted > 0.3  # above chance: an eighth


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(
    "made",
    [
        lambda precision: linear_augmented(epochs=6, batch_size=150, learning_rate=1.0, precision=precision),
        lambda precision: fine_tune(epochs=6, batch_size=75, precision=precision),
        lambda precision: fine_tune(epochs=8, batch_size=50, learning_rates=(0.02, 0.1), precision=precision),
    ],
    ids=["linear_augmented", "fine_tune", "fine_tune with a choice"],
)
def test_classifiers_trained_on_the_device_learn(made, precision):
    model = model_on("cuda")
    before = model.digest()
    outcome = made(precision)(model, DATA)
    assert outcome.metrics["top1"] > 0.5
    assert model.digest() == before


def test_probes_of_transforms_and_factors_learn():
    shapes = Shapes(image_size=32, num_train=300, num_validation=50, num_test=100)
    outcome = factor_probe(epochs=10)(model_on("cuda"), shapes)
    assert np.isfinite(list(outcome.metrics.values())).all()
    metrics = transform_probe(epochs=10)(model_on("cuda"), DATA).metrics
    assert metrics["sobel"] > metrics["chance_sobel"] + 0.2


def test_the_head_and_the_histograms_are_those_of_the_cpu():
    histograms = outcomes(histogram_shortcut(image_size=32, candidates=64, max_images=128))
    assert histograms[1].metrics[histograms[1].headline] == pytest.approx(
        histograms[0].metrics[histograms[0].headline], abs=0.03
    )
    ranks = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        backbone = timm_backbone(model="test_resnet")
        head = MLP(backbone.feature_dim, num_layers=1, out_dim=backbone.feature_dim)
        model = FrozenModel(backbone, head, input_size=32, device=device, workers=0).measuring("z")
        ranks.append(head_spectrum()(model, DATA).metrics["effective_rank"])
    assert ranks[1] == pytest.approx(ranks[0], rel=1e-3)


def samples(count=3000, dim=96, num_classes=12):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(num_classes, (count,), generator=generator)
    centres = torch.randn(num_classes, dim, generator=generator)
    values = centres[labels] + 3 * torch.randn(count, dim, generator=generator)
    return torch.relu(values) * torch.arange(1, dim + 1).float().rsqrt(), labels, num_classes


def test_strengths_solved_together_are_those_solved_one_by_one():
    values, labels, num_classes = samples()
    axes = PrincipalAxes.of(values)
    options = {"tolerance": 1e-5, "max_iterations": 5000}
    wanted = fit_path(axes.lay(values, torch.device("cpu")), class_loss(labels), num_classes, L2_VALUES, **options)
    on_device = PrincipalAxes.of(values.cuda()).lay(values, torch.device("cuda"))
    for at_once in (1, 8, 45):
        found = fit_path(on_device, class_loss(labels.cuda()), num_classes, L2_VALUES, at_once=at_once, **options)
        for one, other in zip(wanted, found, strict=True):
            assert other.converged
            assert other.objective == pytest.approx(one.objective, rel=3e-5)


def test_several_labels_per_image_are_solved_too():
    values, labels, num_classes = samples(1500)
    several = torch.nn.functional.one_hot(labels, num_classes).to(torch.int8)
    several[::7, 0] = -1
    several[::5, 3] = 1
    results = []
    for device in ("cpu", "cuda"):
        laid = PrincipalAxes.of(values.to(device)).lay(values, torch.device(device))
        results.append(
            fit_path(
                laid, class_loss(several.to(device)), num_classes, [1e-3, 1e-1], tolerance=1e-5, max_iterations=5000,
                at_once=2 if device == "cuda" else 1,
            )
        )  # fmt: skip
    for one, other in zip(*results, strict=True):
        assert other.objective == pytest.approx(one.objective, rel=3e-5)


@pytest.mark.parametrize("count", [200, 30_000])
def test_neighbours_are_those_of_the_cpu(count):
    from sslkit.builtin.evaluations.knn import knn_votes

    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(number, 64, generator=generator) for number in (count, 500))
    labels = torch.arange(count) % 10
    wanted = knn_votes(queries, bank, labels, 10, 50, 0.07)
    found = knn_votes(queries.cuda(), bank.cuda(), labels, 10, 50, 0.07)
    assert float((wanted.argmax(1) == found.argmax(1)).double().mean()) > 0.99
