"""Two processes that stay, and what becomes of them when one fails or hangs."""

from __future__ import annotations

import importlib
import os

import pytest

from sslkit.testing import pair
from sslkit.testing.pair import PairError, in_two_processes


@pytest.fixture
def tasks(toys):
    return importlib.import_module("pair_tasks")


def test_they_form_one_world_and_stay(tasks):
    (first, one), (second, other) = in_two_processes(tasks.added, 10)()
    assert one == other == 21
    assert len({first, second, os.getpid()}) == 3
    assert [process for process, _ in in_two_processes(tasks.added, 5)()] == [first, second]
    assert in_two_processes(tasks.printing)() == [0, 1]


def test_what_one_raises_is_told_and_others_take_their_place(tasks):
    with pytest.raises(PairError, match="rank 1 of 2: ValueError: not on this rank"):
        in_two_processes(tasks.failing_on, 1)()
    assert [total for _, total in in_two_processes(tasks.added, 1)()] == [3, 3]


@pytest.mark.slow
def test_one_that_ends_or_hangs_is_named(tasks, monkeypatch):
    with pytest.raises(PairError, match=r"rank . of 2: it ended"):
        in_two_processes(tasks.ending)()
    in_two_processes(tasks.added, 1)()
    monkeypatch.setattr(pair, "TIMEOUT_SECONDS", 1.0)
    with pytest.raises(PairError, match=r"rank 0 and rank 1 of 2 did not come back within 1 s: most likely"):
        in_two_processes(tasks.waiting)()
    assert pair._processes == []
