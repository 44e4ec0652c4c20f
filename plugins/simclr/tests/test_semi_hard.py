"""Semi-hard negatives against a literal double loop, and in cases that can be seen at a glance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nt_xent_samples import random_views
from pair_samples import negatives_of, semi_hard
from sslkit_simclr import MarginTriplet, NTLogistic, row_blocks
from sslkit_simclr.semi_hard import semi_hard_negatives


def literal_choice(rows, negatives):
    """The nearest semi-hard row of each anchor, or None."""
    size, products = len(rows) // 2, (rows @ rows.T).tolist()
    return [semi_hard(products[i], (i + size) % (2 * size), negatives_of(i, size, negatives)) for i in range(2 * size)]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_the_same_as_a_double_loop_in_any_blocks(data):
    size, negatives = data.draw(st.integers(2, 7)), data.draw(st.sampled_from(["all", "other_views"]))
    rows = torch.cat(random_views(2, size, 3, seed=data.draw(st.integers(0, 99))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "_OTHER_BLOCK_BYTES", 0)
        patch.setattr(row_blocks, "_FEWEST_ROWS", data.draw(st.integers(1, 8)))
        chosen, found = semi_hard_negatives(rows, other_views=negatives == "other_views")
    for number, is_found, expected in zip(
        chosen.tolist(), found.tolist(), literal_choice(rows, negatives), strict=True
    ):
        assert is_found == (expected is not None)
        assert expected is None or number == expected


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_ties_never_take_what_is_not_farther_nor_what_is_not_nearest(data):
    numbers = st.lists(st.integers(-1, 1), min_size=24, max_size=24)
    rows = torch.tensor(data.draw(numbers)).view(8, 3).double()  # small integers: nearly all similarities are tied
    negatives = data.draw(st.sampled_from(["all", "other_views"]))
    chosen, found = semi_hard_negatives(rows, other_views=negatives == "other_views")
    products = rows @ rows.T
    for i, expected in enumerate(literal_choice(rows, negatives)):
        assert found[i] == (expected is not None)
        if expected is not None:
            assert int(chosen[i]) in negatives_of(i, 4, negatives)
            assert products[i, chosen[i]] == products[i, expected]


def anchored(positive, *others):
    """Two views of images, as angles in degrees: that of image 0 is 0 in one view, and `positive` in the other."""
    first, second = torch.deg2rad(torch.tensor([[0.0, *others], [positive, *others]], dtype=torch.float64))
    return [torch.stack((angles.cos(), angles.sin()), dim=1) for angles in (first, second)]


def test_the_nearest_of_the_farther_ones_is_taken():
    rows = torch.cat(anchored(30, 10, 50, 70))  # 10 degrees is nearer than the positive: hard, not semi-hard
    chosen, found = semi_hard_negatives(rows, other_views=True)
    assert found[0]
    assert chosen[0] == 4 + 2
    assert semi_hard_negatives(rows, other_views=False)[0][0] in (2, 4 + 2)


def test_all_negatives_may_qualify():
    chosen, found = semi_hard_negatives(torch.cat(anchored(5, 50, 120)), other_views=False)
    assert found.all()
    assert chosen[0] in (1, 4)


def test_a_negative_as_near_as_the_positive_does_not_qualify():
    same = torch.ones(6, 4)
    assert not semi_hard_negatives(same, other_views=False)[1].any()
    assert not semi_hard_negatives(same, other_views=True)[1].any()


@pytest.mark.parametrize("negatives", ["all", "other_views"])
def test_without_any_a_triplet_costs_nothing_and_a_pair_keeps_its_positive(negatives):
    same = [torch.ones(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss, metrics = MarginTriplet(mining="semi_hard", negatives=negatives)(same)
    assert loss == metrics["semi_hard_fraction"] == 0
    assert all(not gradient.any() for gradient in torch.autograd.grad(loss, same))
    loss, metrics = NTLogistic(temperature=0.5, mining="semi_hard", negatives=negatives)(same)
    assert metrics["semi_hard_fraction"] == 0
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))


def test_anchors_without_any_count_in_the_mean():
    # Of the four anchors only the second view of image 1, at 180 degrees, has a farther negative, at 0 degrees.
    views = anchored(180, 180)
    loss, metrics = MarginTriplet(margin=2.4, mining="semi_hard", negatives="other_views")(views)
    assert metrics["semi_hard_fraction"] == 0.25
    assert loss.item() == pytest.approx(0.4 / 4)


def test_the_nearest_counts_only_within_the_margin():
    views = anchored(0, 60)  # cosines of 1 with the positive, of 0.5 with negatives, for every anchor
    for margin, cost, fraction in ((0.4, 0.0, 0), (0.6, 0.1, 1)):
        loss, metrics = MarginTriplet(margin=margin, mining="semi_hard")(views)
        assert loss.item() == pytest.approx(cost)
        assert metrics["semi_hard_fraction"] == fraction
