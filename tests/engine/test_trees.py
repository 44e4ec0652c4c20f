from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sslkit import RunError
from sslkit.engine.trees import (
    first_not_finite,
    flatten,
    load_model_tree,
    load_optimizer_tree,
    num_bytes,
    optimizer_tree,
    unflatten,
)


def test_channels_last_and_shared_tensors_are_kept_apart():
    shared = torch.arange(16.0).reshape(1, 2, 2, 4).to(memory_format=torch.channels_last)
    tensors, skeleton = flatten({"a": shared, "b": [shared, (shared[0],)]})
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == 3
    back = unflatten(json.loads(json.dumps(skeleton)), tensors)
    assert torch.equal(back["b"][1][0], shared[0])


def test_what_is_neither_tensor_nor_scalar_is_refused():
    with pytest.raises(RunError, match=r"state /a/0: set is neither"):
        flatten({"a": [{1}]})


def test_bytes_are_counted_without_copying():
    assert num_bytes({"a": torch.zeros(3), "b": [torch.zeros(2, dtype=torch.int64), 1], "c": "x"}) == 12 + 16


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_one_number_that_is_not_finite_is_found(dtype, bad):
    good = {"empty": torch.zeros(0), "count": torch.tensor(3), "weight": torch.ones(3, 4).to(dtype)}
    assert first_not_finite(good) is None
    weight = torch.ones(3, 4)
    weight[1, 2] = float(bad)
    assert first_not_finite(good | {"other": weight.to(dtype)}) == "other"


def test_the_largest_finite_numbers_are_finite():
    assert first_not_finite({"a": torch.full((9,), torch.finfo(torch.float32).max)}) is None


def test_a_model_that_does_not_fit_is_told_tensor_by_tensor():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    tree = dict(module.state_dict())
    tree["0.weight"] = torch.zeros(3, 5)
    tree["2.bias"] = tree.pop("0.bias")
    before = module[0].weight.clone()
    with pytest.raises(RunError) as caught:
        load_model_tree(module, tree, Path("checkpoints/step-00000004"))
    assert str(caught.value) == (
        f"{Path('checkpoints/step-00000004')} does not fit the model that this recipe builds now: missing: 0.bias; "
        "unknown: 2.bias; of another shape: 0.weight (is [3, 5], should be [3, 2])"
    )
    assert torch.equal(module[0].weight, before)
    with pytest.raises(RunError, match=r"missing: 0\.weight, 0\.bias, 1\.weight, 1\.bias, 1\.running_mean and 2 more"):
        load_model_tree(module, {}, Path("x"))


def test_an_optimizer_goes_on_as_if_it_had_not_been_saved():
    def steps(module, optimizer, number):
        for _ in range(number):
            module(torch.ones(4, 2)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    def fresh():
        torch.manual_seed(0)
        module = nn.Linear(2, 3)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    whole, optimizer = fresh()
    steps(whole, optimizer, 4)
    first, optimizer = fresh()
    steps(first, optimizer, 2)
    tensors, skeleton = flatten(optimizer_tree(optimizer, first))
    second, optimizer = fresh()
    load_model_tree(second, first.state_dict(), Path("x"))
    load_optimizer_tree(optimizer, second, unflatten(json.loads(json.dumps(skeleton)), tensors))
    steps(second, optimizer, 2)
    assert torch.equal(whole.weight, second.weight)
