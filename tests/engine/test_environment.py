from __future__ import annotations

import pytest
import torch

from sslkit import RunError
from sslkit.engine.distributed import World
from sslkit.engine.environment import choose_device


@pytest.fixture
def two_cards(monkeypatch):
    """Let torch believe in two CUDA devices."""
    for name, value in (("is_available", True), ("device_count", 2), ("current_device", 0)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_card_has_a_number_because_torch_asks_for_it(two_cards, name):
    assert choose_device(name) == torch.device("cuda", 0)


def test_of_several_processes_each_takes_the_card_of_its_number(two_cards):
    assert [choose_device("auto", World(rank, 2, rank, 2)).index for rank in range(2)] == [0, 1]
    assert choose_device("cpu", World(1, 2, 1, 2)) == torch.device("cpu")
    with pytest.raises(RunError, match="3 processes, but 2 CUDA devices; start as many, or say --device cpu"):
        choose_device("cuda", World(0, 3, 0, 3))
    with pytest.raises(RunError, match="2 processes take a device each; say --device cuda"):
        choose_device("cuda:1", World(0, 2, 0, 2))


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(RunError, match="--device quantum: is no device; say auto, cpu, cuda"):
        choose_device("quantum")
    if not torch.cuda.is_available():
        with pytest.raises(RunError, match="--device cuda: this machine or this torch has no CUDA"):
            choose_device("cuda")
