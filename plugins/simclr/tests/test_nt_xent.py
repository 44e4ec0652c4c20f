"""NT-Xent against a literal double loop, golden values and limits that can be calculated by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sslkit_simclr import NTXent

Z1 = torch.tensor([(1.0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
Z2 = torch.tensor([(2.0, 1, 0), (0, 1, 1), (1, 0, 3), (1, 2, 1)])


def literal_loss(views: list[torch.Tensor], temperature: float, normalise: bool = True) -> torch.Tensor:
    """Algorithm 1 written out in float64, one anchor and one candidate at a time."""
    z = torch.cat(views).double()
    size = len(views[0])
    total = z.new_zeros(())
    for i in range(len(z)):
        similarity = []
        for k in range(len(z)):
            product = (z[i] * z[k]).sum()
            if normalise:
                product = product / (z[i].square().sum().sqrt() * z[k].square().sum().sqrt())
            similarity.append(product / temperature)
        others = torch.stack([similarity[k] for k in range(len(z)) if k != i])
        greatest = others.max().detach()
        denominator = (others - greatest).exp().sum().log() + greatest
        positives = [k for k in range(len(z)) if k != i and k % size == i % size]
        total = total + sum(denominator - similarity[k] for k in positives) / len(positives)
    return total / len(z)


def random_views(num_views: int, size: int, dim: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, size, dim, generator=generator, dtype=torch.float64)
    return [anchor + 0.7 * part for part in noise]


@pytest.mark.parametrize(
    ("temperature", "loss", "entropy"),
    [(0.1, 0.715881, 0.516794), (0.5, 1.359749, 1.248077), (1.0, 1.614568, 1.347347)],
)
def test_golden_vector(temperature, loss, entropy):
    output = NTXent(temperature=temperature)([Z1, Z2])
    assert output.loss.item() == pytest.approx(loss, abs=2e-6)
    assert output.metrics["contrastive_accuracy"].item() == 0.75
    assert output.metrics["contrastive_entropy"].item() == pytest.approx(entropy, abs=2e-6)


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("num_views", "normalise"), [(2, True), (3, True), (2, False), (4, True)])
def test_value_and_gradient_equal_the_literal_double_loop(temperature, num_views, normalise):
    views = [view.requires_grad_() for view in random_views(num_views, 5)]
    expected = literal_loss(views, temperature, normalise)
    expected_gradients = torch.autograd.grad(expected, views)
    objective = NTXent(temperature=temperature, normalise=normalise)
    loss = objective(views).loss
    gradients = torch.autograd.grad(loss, views)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-11)

    singles = [view.detach().float().requires_grad_() for view in views]
    loss = objective(singles).loss
    gradients = torch.autograd.grad(loss, singles)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=3e-5)
    scale = max(part.abs().max().item() for part in expected_gradients)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4 * scale)


def test_swapping_views_and_scaling_projections_change_nothing():
    first, second = random_views(2, 8)
    loss = NTXent()([first, second]).loss
    torch.testing.assert_close(NTXent()([second, first]).loss, loss)
    lengths = torch.linspace(0.01, 50, 8, dtype=torch.float64).view(-1, 1)
    torch.testing.assert_close(NTXent()([first * lengths, second * 3]).loss, loss)
    assert abs(NTXent(normalise=False)([first * lengths, second]).loss - loss) > 0.1


@pytest.mark.parametrize("size", [1, 8, 256])
def test_collapse_and_perfect_separation(size):
    same = torch.ones(size, 4)
    assert NTXent()([same, same]).loss.item() == pytest.approx(math.log(2 * size - 1), abs=1e-5)
    corners = torch.eye(size)
    expected = math.log(1 + (2 * size - 2) * math.exp(-1 / 0.5))
    assert NTXent(temperature=0.5)([corners, corners]).loss.item() == pytest.approx(expected, abs=1e-5)


def test_bfloat16_autocast_changes_no_bit():
    views = [view.float() for view in random_views(2, 16, 32)]
    plain = NTXent(temperature=0.05)(views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = NTXent(temperature=0.05)(views)
    assert torch.equal(plain.loss, inside.loss)
    half = NTXent()([view.bfloat16() for view in views]).loss
    assert half.dtype == torch.float32


def test_zero_projections_have_finite_gradients():
    views = [torch.zeros(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)]
    output = NTXent()(views)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(view.grad).all() for view in views)


def test_metrics_are_detached_scalars_of_the_first_two_views():
    views = [view.float().requires_grad_() for view in random_views(3, 8)]
    metrics = NTXent()(views).metrics
    pair = NTXent()(views[:2]).metrics
    assert set(metrics) == {"contrastive_accuracy", "contrastive_entropy"}
    for name, value in metrics.items():
        assert value.shape == ()
        assert not value.requires_grad
        torch.testing.assert_close(value, pair[name])


@pytest.mark.parametrize(
    ("projections", "words"),
    [
        ([], "at least 2 views"),
        ([torch.ones(4, 3)], "at least 2 views"),
        ([torch.ones(4, 3), torch.ones(3, 3)], "one shape"),
        ([torch.ones(4, 3, 1), torch.ones(4, 3, 1)], r"\[B, P\]"),
        ([torch.ones(0, 3), torch.ones(0, 3)], "B >= 1"),
    ],
)
def test_wrong_projections_are_refused(projections, words):
    with pytest.raises(ValueError, match=words):
        NTXent()(projections)


def test_wrong_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        NTXent(temperature=0.0)
