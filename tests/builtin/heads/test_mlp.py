from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import MLPHead


def kinds(head: MLPHead) -> list[str]:
    return [type(layer).__name__ for layer in head.layers]


def test_a_hidden_layer_is_linear_normalised_and_rectified():
    head = MLPHead(6, hidden_dim=10, out_dim=3, num_layers=3)
    assert kinds(head) == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [layer.out_features for layer in head.layers if isinstance(layer, nn.Linear)] == [10, 10, 3]
    assert [layer.bias is not None for layer in head.layers if isinstance(layer, nn.Linear)] == [False, False, True]
    assert head.out_dim == 3
    assert head(torch.randn(4, 6)).shape == (4, 3)


def test_hidden_layers_are_as_wide_as_the_features_unless_told():
    assert MLPHead(6).layers[0].out_features == 6


@pytest.mark.parametrize(("last_norm", "affine"), [("batch", True), ("plain", False)])
def test_the_last_layer_may_be_normalised(last_norm, affine):
    linear, norm = MLPHead(6, num_layers=1, out_dim=5, last_norm=last_norm).layers
    assert linear.bias is None
    assert norm.affine == affine


def test_without_normalisation_it_is_the_bare_perceptron():
    head = MLPHead(6, hidden_dim=7, out_dim=2, norm="none").double()
    first, _, last = head.layers
    features = torch.randn(5, 6, dtype=torch.float64)
    hidden = (features @ first.weight.T + first.bias).clamp(min=0)
    assert torch.allclose(head(features), hidden @ last.weight.T + last.bias)
