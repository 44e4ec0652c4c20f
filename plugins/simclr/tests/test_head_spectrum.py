"""Eigenvalues of a linear head: matrices whose eigenvalues are known, and heads of another form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sslkit_simclr import MLP, head_spectrum
from torch import nn

from sslkit import FrozenModel, RunError

SIDE = 20


class Flat(nn.Module):
    feature_dim = SIDE

    def forward(self, images):
        return images.flatten(1)[:, :SIDE]


def of(head):
    return head_spectrum()(FrozenModel(Flat(), head, input_size=4).measuring("z"), None)


def with_matrix(matrix):
    head = MLP(SIDE, num_layers=1, out_dim=SIDE)
    with torch.no_grad():
        head.layers[0].weight.copy_(torch.as_tensor(matrix))
    return of(head)


def test_a_diagonal_matrix_shows_its_squares_in_order():
    diagonal = np.linspace(-1.0, 3.0, SIDE)
    outcome = with_matrix(np.diag(diagonal))
    squares = sorted((diagonal**2).tolist(), reverse=True)
    np.testing.assert_allclose(outcome.predictions["squared_eigenvalues"], squares, atol=1e-6)
    np.testing.assert_allclose(
        outcome.predictions["singular_values"], sorted(np.abs(diagonal), reverse=True), atol=1e-6
    )
    shares = [abs(value) / np.abs(diagonal).sum() for value in diagonal if value]
    assert outcome.headline == "effective_rank"
    assert outcome.metrics["effective_rank"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-5)
    added = [sum(squares[: count + 1]) for count in range(SIDE)]
    assert outcome.metrics["eigenvalues_90"] == 1 + next(n for n, part in enumerate(added) if part >= 0.9 * added[-1])
    assert outcome.metrics["share_10_percent"] == pytest.approx(added[1] / added[-1], rel=1e-5)
    assert outcome.metrics["dimensions"] == SIDE


def test_the_extremes():
    assert with_matrix(np.eye(SIDE)).metrics["effective_rank"] == pytest.approx(SIDE)
    vector = np.arange(1.0, SIDE + 1)[:, None]
    outcome = with_matrix(vector @ vector.T)
    assert outcome.metrics["effective_rank"] == pytest.approx(1, abs=0.01)
    assert outcome.metrics["eigenvalues_90"] == 1
    nothing = with_matrix(np.zeros((SIDE, SIDE))).metrics
    assert (nothing["effective_rank"], nothing["eigenvalues_90"], nothing["share_10_percent"]) == (0, SIDE, 0)


def test_of_complex_eigenvalues_the_real_part_counts():
    turn = np.zeros((SIDE, SIDE))  # pairs of 2 (cos 60° ± i sin 60°): real part 1, length 2
    for at in range(0, SIDE, 2):
        turn[at : at + 2, at : at + 2] = 2 * np.array([[0.5, -(0.75**0.5)], [0.75**0.5, 0.5]])
    outcome = with_matrix(turn)
    np.testing.assert_allclose(outcome.predictions["squared_eigenvalues"], np.ones(SIDE), atol=1e-5)
    np.testing.assert_allclose(outcome.predictions["singular_values"], 2 * np.ones(SIDE), atol=1e-5)


def test_random_weights_have_the_rank_that_the_docstring_names():
    torch.manual_seed(0)

    class Wide(nn.Module):
        feature_dim = 256

        def forward(self, images):
            return images.flatten(1).repeat(1, 6)[:, :256]

    model = FrozenModel(Wide(), MLP(256, num_layers=1, out_dim=256), input_size=4)
    metrics = head_spectrum()(model.measuring("z"), None).metrics
    assert metrics["effective_rank"] == pytest.approx(0.8 * 256, rel=0.03)
    assert metrics["eigenvalues_90"] == pytest.approx(128, rel=0.1)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (MLP(SIDE, num_layers=2, out_dim=SIDE), f"{SIDE} to {SIDE}, {SIDE} to {SIDE}"),
        (MLP(SIDE, num_layers=1, out_dim=8), f"{SIDE} to 8"),
        (MLP(SIDE, num_layers=0), "none"),
    ],
)
def test_other_heads_are_refused(head, found):
    with pytest.raises(RunError, match=f"this one has {found}; pretrain with num_layers = 1"):
        of(head)


def test_only_the_head_is_looked_at():
    with pytest.raises(RunError, match='set features = \\["z"\\]'):
        head_spectrum().check(Flat(), "h", None, None)
