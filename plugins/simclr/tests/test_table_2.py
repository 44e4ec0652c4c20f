"""The gradients of all three losses against the closed forms of the paper's table 2, summed one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch
from nt_xent_samples import random_views
from pair_samples import negatives_of, semi_hard
from sslkit_simclr import MarginTriplet, NTLogistic, NTXent

SIZE = 5


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def nt_xent(similarities, positive, among, temperature):
    """What v+ and every v- are multiplied by in the gradient w.r.t. u of the objective that is maximised."""
    total = sum(math.exp(similarities[row] / temperature) for row in [positive, *among])
    share = {row: math.exp(similarities[row] / temperature) / total for row in [positive, *among]}
    return {positive: (1 - share[positive]) / temperature} | {row: -share[row] / temperature for row in among}


def nt_logistic(similarities, positive, among, temperature):
    factors = {positive: sigmoid(-similarities[positive] / temperature) / temperature}
    return factors | {row: -sigmoid(similarities[row] / temperature) / temperature / len(among) for row in among}


def margin_triplet(similarities, positive, among, margin):
    costly = [row for row in among if similarities[positive] - similarities[row] < margin]
    return {positive: len(costly) / len(among)} | dict.fromkeys(costly, -1 / len(among))


CASES = [
    *((NTXent, nt_xent, {"temperature": t, "negatives": n}) for t in (0.1, 0.5) for n in ("all", "other_views")),
    *(
        (NTLogistic, nt_logistic, {"temperature": t, "negatives": n})
        for t in (0.1, 0.5)
        for n in ("all", "other_views")
    ),
    *(
        (MarginTriplet, margin_triplet, {"margin": m, "negatives": n})
        for m in (0.4, 0.8)
        for n in ("all", "other_views")
    ),
    (NTLogistic, nt_logistic, {"temperature": 0.5, "mining": "semi_hard"}),
    (MarginTriplet, margin_triplet, {"margin": 0.8, "mining": "semi_hard", "negatives": "other_views"}),
]


@pytest.mark.parametrize(("kind", "closed_form", "options"), CASES)
def test_gradients_are_those_of_table_2(kind, closed_form, options):
    views = [view.requires_grad_() for view in random_views(2, SIZE)]
    z = torch.cat(views).detach()
    lengths = z.norm(dim=1, keepdim=True)
    unit = z / lengths
    setting = options.get("temperature", options.get("margin"))
    expected = torch.zeros_like(z)
    for u in range(2 * SIZE):
        similarities, positive = (unit @ unit[u]).tolist(), (u + SIZE) % (2 * SIZE)
        among = negatives_of(u, SIZE, options.get("negatives", "all"))
        if "mining" in options:
            among = [semi_hard(similarities, positive, among, options.get("margin", math.inf))]
            assert among != [None]
        for v, factor in closed_form(similarities, positive, among, setting).items():
            expected[u] -= factor * unit[v] / (2 * SIZE)  # table 2's gradient w.r.t. u
            expected[v] -= factor * unit[u] / (2 * SIZE)  # products are symmetric: the same for v
    expected -= (expected * unit).sum(dim=1, keepdim=True) * unit  # along z its length changes, and nothing else
    gradients = torch.autograd.grad(kind(**options)(views).loss, views)
    torch.testing.assert_close(torch.cat(gradients), expected / lengths, rtol=1e-11, atol=1e-13)
