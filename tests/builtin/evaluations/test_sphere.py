"""Alignment, uniformity and deviations against literal forms and on clouds of known shape."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from sslkit.builtin.evaluations import sphere
from sslkit.builtin.evaluations.sphere import alignment, deviations, uniformity


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_alignment_is_the_mean_squared_distance_of_pairs():
    groups = drawn(30, 4, 7)
    points = normalize(groups.double(), dim=2)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    expected = sum((points[:, i] - points[:, j]).norm(dim=1).square().mean() for i, j in pairs) / len(pairs)
    assert alignment(groups) == pytest.approx(float(expected), rel=1e-9)
    assert alignment(groups[:, :1].expand(-1, 4, -1)) == pytest.approx(0.0, abs=1e-12)


def test_uniformity_is_the_mean_over_pairs(monkeypatch):
    values = drawn(50, 6)
    points = normalize(values.double(), dim=1)
    expected = torch.pdist(points).square().mul(-2).exp().mean().log()
    assert uniformity(values) == pytest.approx(float(expected), rel=1e-9)
    monkeypatch.setattr(sphere, "_CHUNK", 7)
    assert uniformity(values) == pytest.approx(float(expected), rel=1e-9)


def test_points_drawn_evenly_on_the_sphere_look_even():
    values = drawn(4000, 64)
    # Squared distances of independent points are near 2 in many dimensions.
    assert uniformity(values) == pytest.approx(-4, abs=0.15)
    assert deviations(values).mean() == pytest.approx(1.0, abs=0.01)
    assert deviations(values).min() > 0.9


@pytest.mark.parametrize("values", [torch.ones(40, 5), torch.zeros(40, 5), 1 + 1e-7 * drawn(40, 5)])
def test_features_that_are_all_alike_look_so(values):
    assert uniformity(values) == pytest.approx(0.0, abs=1e-9)
    assert float(deviations(values).max()) < 1e-6
    assert alignment(values.view(10, 4, 5)) < 1e-9


def test_deviations_are_those_of_each_dimension():
    values = drawn(40, 5)
    expected = normalize(values.double(), dim=1).numpy().std(axis=0) * math.sqrt(5)
    torch.testing.assert_close(deviations(values), torch.from_numpy(expected))


def test_a_dimension_that_never_changes_has_none():
    values = drawn(40, 5)
    values[:, 2] = 0
    assert deviations(values)[2] == 0
    assert (deviations(values) > 0).sum() == 4
