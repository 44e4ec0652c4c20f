"""RankMe, alpha-ReQ and LiDAR against literal forms, and on features whose rank, spectrum or grouping is planted."""

import math

import pytest
import torch

from sslkit import alpha_req, lidar, rankme
from sslkit.builtin.evaluations import spectrum
from sslkit.builtin.evaluations.spectrum import Spectrum, effective_dimensions


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def low_rank(num, dim, rank, seed=0):
    return drawn(num, rank, seed=seed) @ torch.linalg.qr(drawn(dim, dim, seed=seed + 1)).Q[:rank]


def with_variances(variances, num, seed=0):
    """Return features whose covariance has exactly these eigenvalues."""
    rows = drawn(num, len(variances), seed=seed)
    left = torch.linalg.qr(rows - rows.mean(dim=0)).Q
    turn = torch.linalg.qr(drawn(len(variances), len(variances), seed=seed + 1)).Q
    return (num**0.5 * left * variances.sqrt()) @ turn


def literal_rankme(values):
    singular = torch.linalg.svdvals(values.double())
    shares = singular / singular.sum() + 1e-7
    return math.exp(-sum(float(share) * math.log(share) for share in shares))


def literal_lidar(groups, delta):
    num, views, dim = groups.shape
    groups = groups.double()
    delta = delta * groups.square().mean()
    means, grand = groups.mean(dim=1), groups.mean(dim=(0, 1))
    between = sum(torch.outer(mean - grand, mean - grand) for mean in means) / num
    within = sum(torch.outer(view - means[i], view - means[i]) for i in range(num) for view in groups[i])
    values, vectors = torch.linalg.eigh(within / (num * views) + delta * torch.eye(dim))
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    found = torch.linalg.eigvalsh(root @ between @ root).clamp(min=0)
    shares = found / found.sum() + 1e-7
    return math.exp(-float((shares * shares.log()).sum()))


@pytest.mark.parametrize(("num", "dim"), [(300, 40), (40, 300), (64, 64), (5, 1)])
def test_rankme_is_the_published_form(num, dim):
    values = (drawn(num, dim) * torch.arange(1, dim + 1) + 3.0).float()
    assert rankme(values) == pytest.approx(literal_rankme(values), rel=1e-6)


def test_rankme_does_not_depend_on_the_chunks(monkeypatch):
    values = drawn(300, 40) + 3.0
    whole = rankme(values)
    monkeypatch.setattr(spectrum, "_CHUNK", 7)
    assert rankme(values) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("rank", [1, 4, 20, 64])
def test_rankme_finds_a_planted_rank(rank):
    # The small constant in each share adds a little for every empty dimension.
    assert rankme(low_rank(8000, 64, rank).float()) == pytest.approx(rank, rel=0.01)


def test_rankme_of_gaussian_noise_is_nearly_full():
    assert rankme(drawn(4096, 256)) == pytest.approx(254, abs=1.5)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_alpha_req_recovers_a_planted_exponent(exponent):
    variances = torch.arange(1, 201, dtype=torch.float64) ** -exponent
    found = alpha_req(with_variances(variances, 400).float())
    assert found.exponent == pytest.approx(exponent, rel=1e-3)
    assert found[1:] == (10, 100)
    assert alpha_req(with_variances(variances, 400) * 1e3 + 7.0).exponent == pytest.approx(exponent, rel=1e-3)


def test_alpha_req_leaves_the_first_nine_out():
    variances = torch.arange(1, 201, dtype=torch.float64) ** -1.0
    variances[:9] *= 50
    assert alpha_req(with_variances(variances, 400)).exponent == pytest.approx(1.0, rel=1e-3)


def test_few_variances_are_fitted_from_the_first():
    variances = torch.arange(1, 13, dtype=torch.float64) ** -1.5
    found = alpha_req(with_variances(variances, 50))
    assert found.exponent == pytest.approx(1.5, rel=1e-3)
    assert found[1:] == (1, 12)


def test_features_of_low_rank_fall_steeply():
    # Past the third, all variances are rounding: a line through ranks 10 to 100 would be flat, and look healthy.
    found = alpha_req(low_rank(500, 128, 3).float())
    assert found.exponent > 10
    assert found[1:] == (1, 4)


@pytest.mark.parametrize(("num", "views", "dim"), [(60, 4, 9), (9, 5, 60)])
def test_lidar_is_the_published_form(num, views, dim, monkeypatch):
    groups = drawn(num, 1, dim) * torch.linspace(0.1, 2, dim) + 0.3 * drawn(num, views, dim, seed=1) + 1.0
    assert lidar(groups) == pytest.approx(literal_lidar(groups, 1e-4), rel=1e-6)
    assert lidar(groups, delta=0.1) == pytest.approx(literal_lidar(groups, 0.1), rel=1e-6)
    assert lidar(groups * 1e-3) == pytest.approx(lidar(groups), rel=1e-6)
    monkeypatch.setattr(spectrum, "_CHUNK", 12)
    assert lidar(groups) == pytest.approx(literal_lidar(groups, 1e-4), rel=1e-6)


def views_of(num, views, dim, rank, noise):
    """Return features [n, q, D] of images that differ in `rank` directions, of views that differ in all."""
    return low_rank(num, dim, rank)[:, None] + noise * drawn(num, views, dim, seed=5)


def test_lidar_needs_the_right_grouping():
    groups = views_of(400, 8, 64, 20, 0.1)
    right = lidar(groups)
    # As concatenated views lie in memory: first views of all images, then the second ones.
    wrong = lidar(groups.transpose(0, 1).reshape(400, 8, 64))
    assert right == pytest.approx(20, rel=0.05)
    assert wrong > 2 * right


def test_lidar_sees_a_collapse_that_a_wrong_grouping_hides():
    groups = views_of(400, 8, 64, 3, 0.05)
    assert lidar(groups) == pytest.approx(3, rel=0.1)
    assert lidar(groups.transpose(0, 1).reshape(400, 8, 64)) > 50


def test_lidar_does_not_count_what_views_differ_in():
    nuisance = 5.0 * drawn(400, 8, 40, seed=7)
    groups = torch.cat([views_of(400, 8, 10, 10, 0.05), nuisance], dim=2)
    assert rankme(groups.flatten(0, 1)) > 40
    assert lidar(groups) == pytest.approx(10, rel=0.1)


def test_lidar_refuses_what_has_no_groups():
    with pytest.raises(ValueError, match="two views of two images"):
        lidar(drawn(5, 1, 3))


def test_effective_dimensions_is_the_participation_ratio():
    variances = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    assert effective_dimensions(with_variances(variances, 50)) == pytest.approx(64 / 22)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_features_that_are_all_alike_have_no_dimensions(noise):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(200, 32, generator=generator)[:1] * (1 + noise * torch.randn(200, 32, generator=generator))
    assert rankme(values) == pytest.approx(1.0, abs=1e-3)
    assert effective_dimensions(values) == 0.0
    assert math.isnan(alpha_req(values).exponent)
    assert lidar(values.view(50, 4, 32)) == 0.0


def test_zeros_are_no_error():
    values = torch.zeros(20, 8)
    assert rankme(values) == lidar(values.view(5, 4, 8)) == effective_dimensions(values) == 0.0
    assert not Spectrum.of(values).variances.any()


def test_bfloat16_features_are_taken_in_float64():
    values = drawn(300, 20).bfloat16()
    assert rankme(values) == pytest.approx(literal_rankme(values), rel=1e-6)
