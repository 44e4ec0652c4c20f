from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import MomentumCopy, rising_momentum


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_it_begins_as_the_module_is_and_does_not_train(network):
    target = MomentumCopy(network)
    images = torch.randn(6, 3, requires_grad=True)
    assert torch.equal(target(images), network(images))
    assert not target(images).requires_grad
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_its_parameters_follow_by_the_momentum(network):
    target = MomentumCopy(network)
    before = [parameter.clone() for parameter in target.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    target.follow(network, 0.9)
    for old, now, online in zip(before, target.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * online)
    held = [parameter.clone() for parameter in target.parameters()]
    target.follow(network, 1.0)
    assert all(torch.equal(old, now) for old, now in zip(held, target.parameters(), strict=True))
    target.follow(network, 0.0)
    assert all(torch.equal(o, t) for o, t in zip(network.parameters(), target.parameters(), strict=True))


def test_its_statistics_are_its_own(network):
    target = MomentumCopy(network)
    network(torch.randn(8, 3) + 5)
    target.follow(network, 0.0)
    assert torch.equal(target.module[1].running_mean, torch.zeros(4))
    target(torch.randn(8, 3))
    assert target.module[1].num_batches_tracked == 1


def test_a_module_without_parameters_has_nothing_to_follow():
    MomentumCopy(nn.Identity()).follow(nn.Identity(), 0.9)


def test_a_momentum_rises_along_half_a_cosine():
    told = [rising_momentum(0.9, 1.0, fraction) for fraction in (0, 0.25, 0.5, 1)]
    assert told == pytest.approx([0.9, 1 - 0.05 * (1 + 2**-0.5), 0.95, 1.0])
    assert rising_momentum(0.7, 0.7, 0.3) == pytest.approx(0.7)
