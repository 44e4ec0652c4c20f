"""Maps of features: principal components against a full decomposition, and t-SNE where it is installed."""

import builtins

import numpy as np
import pytest

from sslkit.studies.projection import has_tsne, principal_components, tsne


@pytest.mark.parametrize("shape", [(300, 8), (40, 700), (600, 500)])
def test_components_are_those_of_a_full_decomposition(shape):
    values = np.random.default_rng(0).standard_normal(shape) * np.arange(1, shape[1] + 1) ** -0.7 + 3.0
    positions, shares = principal_components(values)
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(positions), np.abs(left[:, :2] * sizes[:2]), atol=1e-5)
    np.testing.assert_allclose(shares, sizes[:2] ** 2 / np.sum(sizes**2), rtol=1e-6)


def test_the_sign_of_a_component_does_not_depend_on_the_decomposition():
    values = np.random.default_rng(0).standard_normal((50, 3)) * [5, 1, 0.1]
    positions, _ = principal_components(values)
    assert np.corrcoef(positions[:, 0], values[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("shape", [(20, 4), (20, 600), (300, 600)])
def test_features_without_variance_lie_in_one_place(shape):
    positions, shares = principal_components(np.full(shape, 7.0))
    assert positions.shape == (shape[0], 2)
    assert not positions.any()
    assert not shares.any()


def test_huge_features_overflow_nowhere():
    positions, shares = principal_components(np.random.default_rng(0).standard_normal((30, 4)) * 1e200)
    assert np.isfinite(positions).all()
    assert 0 < shares[1] <= shares[0] < 1


@pytest.mark.skipif(not has_tsne(), reason="the extra `report` is not installed")
def test_tsne_separates_clusters_and_is_the_same_each_time():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    values = generator.standard_normal((60, 10)) + 20 * labels[:, None]
    positions = tsne(values)
    np.testing.assert_array_equal(positions, tsne(values))
    centres = [positions[labels == label].mean(axis=0) for label in (0, 1)]
    nearest = np.linalg.norm(positions[:, None] - np.array(centres), axis=2).argmin(axis=1)
    assert (nearest == labels).all()


def test_tsne_is_not_imported_to_know_whether_it_is_there(monkeypatch):
    monkeypatch.setattr(builtins, "__import__", lambda *_, **__: pytest.fail("imported"))
    has_tsne()
