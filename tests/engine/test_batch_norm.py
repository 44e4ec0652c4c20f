"""What a BatchNorm layer is after its conversion, and how its statistics move when the batch comes in parts."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from sslkit.engine.batch_norm import RunningStatistics, across_ranks


class Twice(nn.Module):
    """A layer that sees large images and small ones, as with views of two sizes."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, momentum=momentum)

    def forward(self, rows):
        return self.norm(rows).mean(dim=(2, 3)) + self.norm(2 * rows[:, :, ::2, ::2] + 1).mean(dim=(2, 3))


def rows_of(step, shape=(12, 3, 4, 4)):
    torch.manual_seed(step)
    return torch.randn(shape, dtype=torch.float64) * (1 + step) + step


def moved_by_parts(module, rows, num_parts):
    statistics = RunningStatistics(module)
    with torch.no_grad(), statistics.moved_once(num_parts):
        for part in rows.chunk(num_parts):
            module(part)
    return statistics


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def near(first, second):
    return first.keys() == second.keys() and all(torch.allclose(first[n], second[n], rtol=0, atol=1e-12) for n in first)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("num_parts", [1, 2, 3, 12])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, Twice, BatchNormAct2d])
def test_statistics_move_as_for_the_whole_batch(kind, num_parts, momentum):
    at_once, by_parts = (
        (kind(momentum=momentum) if kind is Twice else kind(3, momentum=momentum)).double() for _ in range(2)
    )
    for step in range(3):
        at_once(rows_of(step))
        moved_by_parts(by_parts, rows_of(step), num_parts)
    assert near(state(by_parts), state(at_once))
    calls = 2 if kind is Twice else 1
    assert {int(value) for name, value in state(by_parts).items() if "tracked" in name} == {3 * calls}


def test_without_care_they_would_move_once_for_each_part():
    careless = nn.BatchNorm2d(3).double()
    for part in rows_of(0).chunk(3):
        careless(part)
    at_once = nn.BatchNorm2d(3).double()
    at_once(rows_of(0))
    assert not near(state(careless), state(at_once))


def test_layers_that_do_not_train_are_left_alone():
    frozen = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False)).double()
    frozen[0].eval()
    before = state(frozen)
    statistics = moved_by_parts(frozen, rows_of(1), 3)
    assert near(state(frozen), before)
    assert frozen[0].momentum == 0.1
    assert not statistics.used


def test_whether_statistics_were_used_is_known():
    assert moved_by_parts(nn.BatchNorm2d(3).double(), rows_of(0), 2).used
    assert not moved_by_parts(nn.Conv2d(3, 3, 1).double(), rows_of(0), 2).used


def test_nothing_is_left_behind_when_a_pass_fails():
    module = nn.BatchNorm2d(3).double()
    before = state(module)

    def fail():
        with RunningStatistics(module).moved_once(2):
            module(rows_of(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert near(state(module), before)
    assert module.momentum == 0.1
    assert not module._forward_hooks


def test_the_second_pass_leaves_statistics_alone_and_trains_as_ever():
    module, twin = nn.BatchNorm2d(3).double(), nn.BatchNorm2d(3).double()
    before = state(module)
    with RunningStatistics(module).kept():
        output = module(rows_of(1))
        eval_output = module.eval()(rows_of(1))
    assert near(state(module), before)
    assert module.track_running_stats
    assert torch.equal(output, twin(rows_of(1)))
    assert torch.allclose(eval_output, rows_of(1) / (1 + 1e-5) ** 0.5)


def test_a_converted_module_keeps_its_names_parameters_and_kind():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4), nn.BatchNorm1d(4))
    before, described, parameters = state(module), repr(module), list(module.parameters())
    across_ranks(module)
    assert near(state(module), before)
    assert repr(module) == described
    assert all(one is other for one, other in zip(module.parameters(), parameters, strict=True))
    assert isinstance(module[1], nn.BatchNorm2d)
    assert isinstance(module[2], BatchNormAct2d)
    kinds = [type(layer) for layer in module]
    across_ranks(module)
    assert [type(layer) for layer in module] == kinds


def test_a_converted_module_can_be_copied_and_loaded():
    module = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3)).double()
    across_ranks(module)
    module(rows_of(1))
    twin = copy.deepcopy(module)
    assert near(state(twin), state(module))
    assert torch.equal(twin(rows_of(2)), module(rows_of(2)))
    plain = nn.Sequential(nn.BatchNorm2d(3), BatchNormAct2d(3)).double()
    plain.load_state_dict(module.state_dict())
    assert torch.equal(plain.eval()(rows_of(3)), module.eval()(rows_of(3)))


def test_alone_a_converted_module_is_the_plain_one():
    module = nn.BatchNorm2d(3).double()
    twin = copy.deepcopy(module)
    across_ranks(module)
    assert torch.equal(module(rows_of(1)), twin(rows_of(1)))
    assert near(state(module), state(twin))
