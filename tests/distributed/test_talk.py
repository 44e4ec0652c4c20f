"""What ranks tell each other arrives on all of them, in the order of a single process."""

from __future__ import annotations

import time

import pytest
import torch
from talk import agreed, gathered, gathered_of_other_kinds, refused, told, votes

from sslkit import RunError
from sslkit.engine.distributed import World, joined
from sslkit.testing import on_ranks


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_are_dealt_like_cards_and_each_gets_its_gradient_times_the_number_of_ranks(size):
    everything = [number + 10.0 * place for place in range(2) for number in range(size)]
    for number, (found, gradient) in enumerate(on_ranks(gathered, 2, size=size)):
        assert found == everything
        assert gradient == [size * 2 * (number + 10.0 * place) for place in range(2)]


def test_labels_and_transposed_rows_can_be_gathered():
    for labels, rows in on_ranks(gathered_of_other_kinds):
        assert labels == [0, 1, 7, 7]
        assert rows == [[0] * 3, [1] * 3] * 2


def test_numbers_and_things_reach_all():
    for found in on_ranks(told, size=3):
        assert found == {
            "sum": [3, 3],
            "mean": {"a": 1},
            "first": {"rank": 0},
            "all": ["rank 0", "rank 1", "rank 2"],
            "rows": [[1, 1]],
            "on first": 0,
        }


def test_alone_everything_is_as_it_was():
    assert told() == {
        "sum": [1, 0],
        "mean": {"a": 0},
        "first": {"rank": 0},
        "all": ["rank 0"],
        "rows": [],
        "on first": 0,
    }
    assert gathered(2) == ([0, 10], [0, 20])


def test_what_the_first_rank_cannot_do_is_an_error_on_all():
    assert on_ranks(refused) == ["rank 0 cannot read it"] * 2
    assert refused() == "rank 0 cannot read it"


def test_ranks_stop_together_in_the_step_after_one_was_told_to():
    assert on_ranks(agreed, 1) == [(2, "SIGUSR1")] * 2
    assert on_ranks(agreed, None) == [None] * 2
    assert on_ranks(votes) == [[15, 3]] * 2


@pytest.fixture
def as_rank(monkeypatch):
    """Return a function that tells this process that it is one of several."""

    def tell(**names):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return tell


def test_a_launcher_says_who_one_is(as_rank):
    as_rank()
    assert World.of_environment() == World(0, 1, 0, 1)
    as_rank(RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4")
    assert World.of_environment() == World(5, 8, 1, 4)
    as_rank(RANK="5", WORLD_SIZE="8")
    assert World.of_environment() == World(5, 8, 5, 8)


@pytest.mark.parametrize("names", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "two", "RANK": "0"}])
def test_a_launcher_that_says_half_of_it_is_refused(as_rank, names):
    as_rank(**names)
    with pytest.raises(RunError, match="the environment has WORLD_SIZE, but not all of RANK.* as numbers"):
        World.of_environment()


@pytest.mark.parametrize("number", [0, 1])
def test_who_waits_in_vain_says_for_whom(as_rank, tmp_path, number):
    as_rank(RANK=str(number), WORLD_SIZE="2")
    started = time.monotonic()
    with (
        pytest.raises(RunError, match=f"rank {number} of 2 did not reach the others within 0.5 s"),
        joined(torch.device("cpu"), rendezvous=tmp_path, start_seconds=0.5),
    ):
        pytest.fail("there is no other")
    assert time.monotonic() - started < 20
    assert not torch.distributed.is_initialized()


def test_devices_without_collectives_are_refused(as_rank, tmp_path):
    as_rank(RANK="0", WORLD_SIZE="2")
    with pytest.raises(RunError, match="several processes train on CPUs or CUDA devices, not on meta"):
        joined(torch.device("meta"), rendezvous=tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []
