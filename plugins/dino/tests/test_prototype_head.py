"""The head: what it computes, and its prototypes' length."""

from __future__ import annotations

import pytest
import torch
from sslkit_dino import PrototypeHead
from torch import nn
from torch.nn.functional import gelu


def head(**options):
    torch.manual_seed(0)
    return PrototypeHead(6, **{"hidden_dim": 10, "bottleneck_dim": 4, "out_dim": 7, **options})


def test_logits_are_cosines_with_the_prototypes():
    made, features = head(), torch.randn(5, 6)
    first, _, second, _, third = made.layers
    bottleneck = third(gelu(second(gelu(first(features)))))
    expected = torch.stack(
        [torch.stack([(row @ p) / row.norm() / p.norm() for p in made.prototypes]) for row in bottleneck]
    )
    torch.testing.assert_close(made(features), expected)
    assert made.out_dim == 7


def test_lengths_train_only_where_they_are_asked_for():
    features = torch.randn(3, 6)
    assert head().lengths is None
    long = head(unit_prototypes=False)
    with torch.no_grad():
        long.lengths.mul_(2)
    torch.testing.assert_close(long(features), 2 * head()(features))


def test_prototypes_begin_as_weights_of_a_linear_layer_and_the_others_small():
    made = PrototypeHead(6, hidden_dim=400, bottleneck_dim=100, out_dim=1000)
    assert made.prototypes.abs().max().item() <= 0.1  # 1 / sqrt(100)
    assert made.prototypes.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    assert made.layers[2].weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_hidden_layers_are_normalised_where_they_are_asked_to():
    kinds = [type(layer) for layer in head(norm="batch").layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU] * 2 + [nn.Linear]


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_any_number_of_layers(num_layers):
    made = head(num_layers=num_layers)
    assert [layer.out_features for layer in made.layers if isinstance(layer, nn.Linear)] == [10] * (num_layers - 1) + [
        4
    ]
    assert made(torch.randn(2, 6)).shape == (2, 7)
