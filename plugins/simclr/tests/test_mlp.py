"""The projection head: parameter counts of the paper's code, its missing biases, its initial weights."""

from __future__ import annotations

import pytest
import torch
from sslkit_simclr import MLP
from torch import nn


@pytest.mark.parametrize(
    ("in_dim", "num_layers", "count"),
    [(512, 2, 328_832), (512, 3, 592_000), (2048, 2, 4_460_672), (2048, 3, 8_659_072), (512, 1, 512 * 128 + 128)],
)
def test_parameter_counts(in_dim, num_layers, count):
    with torch.device("meta"):
        head = MLP(in_dim, num_layers=num_layers)
    assert sum(parameter.numel() for parameter in head.parameters()) == count
    assert head.out_dim == 128


def test_linear_layers_have_no_bias_and_only_the_last_norm_has_no_shift():
    head = MLP(16, num_layers=3, out_dim=8)
    norms = [module for module in head.modules() if isinstance(module, nn.BatchNorm1d)]
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [linear.bias for linear in linears] == [None, None, None]
    assert [norm.bias is None for norm in norms] == [False, False, True]
    assert all(norm.weight is not None for norm in norms)


def test_projections_are_centred_and_train():
    torch.manual_seed(0)
    head = MLP(16, out_dim=8)
    features = torch.randn(64, 16) + 3
    projections = head(features)
    assert projections.shape == (64, 8)
    torch.testing.assert_close(projections.mean(0), torch.zeros(8), atol=1e-5, rtol=0)  # scale, but no shift
    projections.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    restored = MLP(16, out_dim=8)
    restored.load_state_dict(head.state_dict())
    assert torch.equal(restored.eval()(features), head.eval()(features))


def test_initial_weights_have_deviation_0_01():
    torch.manual_seed(0)
    for linear in MLP(512).layers[::3]:
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_hidden_dim_and_no_batch_norm():
    head = MLP(16, hidden_dim=32, out_dim=8, batch_norm=False)
    assert [tuple(parameter.shape) for parameter in head.parameters()] == [(32, 16), (8, 32)]
    features = torch.randn(4, 16)
    first, second = head.parameters()
    torch.testing.assert_close(head(features), (features @ first.T).relu() @ second.T)


def test_no_layers_is_the_identity():
    head = MLP(16, num_layers=0)
    features = torch.randn(4, 16)
    assert head(features) is features
    assert head.out_dim == 16
    with pytest.raises(ValueError, match="num_layers"):
        MLP(16, num_layers=4)
