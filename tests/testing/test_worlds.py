"""Ranks that stay, and what becomes of them when one fails or hangs."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.testing import RankError, on_ranks, worlds

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def tasks(toys):
    return importlib.import_module("rank_tasks")


def test_they_form_one_world_and_stay(tasks):
    (first, one), (second, other) = on_ranks(tasks.added, 10)
    assert one == other == 21
    assert len({first, second, os.getpid()}) == 3
    assert [process for process, _ in on_ranks(tasks.added, 5)] == [first, second]
    assert on_ranks(tasks.printing) == [0, 1]


def test_worlds_of_other_sizes_stand_beside_it(tasks):
    pair = [process for process, _ in on_ranks(tasks.added, 5)]
    assert [total for _, total in on_ranks(tasks.added, 10, size=3)] == [33] * 3
    assert [total for _, total in on_ranks(tasks.added, 10, size=1)] == [10]
    assert [process for process, _ in on_ranks(tasks.added, 5)] == pair
    worlds.close(3)
    worlds.close(1)


def test_what_one_raises_is_told_and_others_take_their_place(tasks):
    with pytest.raises(RankError, match="rank 1 of 2: ValueError: not on this rank") as found:
        on_ranks(tasks.failing_on, 1)
    assert "in failing_on\n" in found.value.__notes__[0]
    assert [total for _, total in on_ranks(tasks.added, 1)] == [3, 3]


def test_a_function_that_no_other_process_can_import_is_named(tasks, monkeypatch):
    monkeypatch.setattr(tasks.added, "__qualname__", "gone")
    monkeypatch.setattr(tasks, "gone", tasks.added, raising=False)
    with pytest.raises(RankError, match=r"rank . of 2: AttributeError: .*'gone'"):
        on_ranks(tasks.added, 1)


@pytest.mark.slow
def test_one_that_ends_or_hangs_is_named(tasks, monkeypatch):
    with pytest.raises(RankError, match=r"rank . of 2: it ended"):
        on_ranks(tasks.ending)
    on_ranks(tasks.added, 1)
    monkeypatch.setattr(worlds, "TIMEOUT_SECONDS", 1.0)
    with pytest.raises(RankError, match=r"rank 0 and rank 1 of 2 did not come back within 1 s: most likely"):
        on_ranks(tasks.waiting)
    assert worlds._worlds == {}


@pytest.mark.parametrize(("fault", "failed"), [("", 0), (".detach()", 1)])
def test_the_page_on_distribution_tests_its_objective(fault, failed, tmp_path):
    page = (DOCS / "explanation" / "distribution.md").read_text(encoding="utf-8")
    for block in runpy.run_path(str(DOCS / "blocks.py"))["blocks"](page):
        if block.mark.startswith("file: "):
            text = block.text.replace("gather_rows(own[None])", f"gather_rows(own[None]){fault}")
            (tmp_path / block.mark.removeprefix("file: ")).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_far_apart.py"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == failed
