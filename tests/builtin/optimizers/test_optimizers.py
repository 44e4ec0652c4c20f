"""Optimizers: the groups keep their rates and names, and one step is what the books say."""

import pytest
import torch
from torch import nn

from sslkit import SslkitError, adamw, sgd


def make_groups():
    decayed, plain = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([3.0]))
    return [
        {"params": [decayed], "lr": 0.1, "weight_decay": 0.5, "adapt": True, "name": "decay"},
        {"params": [plain], "lr": 0.1, "weight_decay": 0.0, "adapt": False, "name": "no_decay"},
    ]


@pytest.mark.parametrize("factory", [sgd, adamw])
def test_groups_pass_through_and_the_caller_s_stay_untouched(factory):
    groups = make_groups()
    before = [dict(group) for group in groups]
    optimizer = factory(groups)
    assert groups == before
    assert [(g["name"], g["adapt"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("decay", True, 0.1, 0.5),
        ("no_decay", False, 0.1, 0.0),
    ]
    assert all(group["foreach"] for group in optimizer.param_groups)


def test_sgd_takes_two_steps_as_written_out():
    groups = make_groups()
    weight = groups[0]["params"][0]
    optimizer = sgd(groups, momentum=0.9)
    w, v = weight.detach().double().clone(), torch.zeros(2, dtype=torch.float64)
    for rate in (0.1, 0.05):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([1.0, 1.0])
        optimizer.step()
        v = 0.9 * v + (1.0 + 0.5 * w)
        w = w - rate * v
    torch.testing.assert_close(weight.detach().double(), w, rtol=1e-6, atol=1e-6)


def test_adamw_takes_a_first_step_as_written_out():
    groups = make_groups()
    weight = groups[0]["params"][0]
    start = weight.detach().clone()
    optimizer = adamw(groups)
    weight.grad = torch.tensor([0.3, -7.0])
    optimizer.step()
    # After one step the bias-corrected means are the gradient and its square: the update is its sign.
    torch.testing.assert_close(weight.detach(), start * (1 - 0.1 * 0.5) - 0.1 * torch.tensor([1.0, -1.0]))


def test_nesterov_without_momentum_is_refused_in_one_line():
    with pytest.raises(SslkitError, match=r"momentum = 0\.9"):
        sgd(make_groups(), momentum=0.0, nesterov=True)
