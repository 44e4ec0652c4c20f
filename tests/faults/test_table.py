"""The table in the documentation: every row of the plan, each held by tests that exist; no row's test is forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults.md"
ROWS = {
    int(number): (promise, re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests))
    for number, promise, tests in re.findall(r"^\| (\d+) \|[^|]*\|([^|]*)\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
}


def names_in(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_the_table_has_every_row():
    assert list(ROWS) == [*range(1, 23), *range(25, 31)]
    assert all(promise.strip() and tests for promise, tests in ROWS.values())


@pytest.mark.parametrize("number", ROWS)
def test_its_tests_exist_and_carry_its_number(number):
    for path, name in ROWS[number][1]:
        assert name in names_in(ROOT / path), f"{path}::{name}"
    assert any(f"{number:02d}" in re.findall(r"_(\d\d)(?=_)", name) for _, name in ROWS[number][1])


def test_whoever_carries_a_number_belongs_to_a_row():
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in names_in(path):
            if (match := re.match(r"test_row_((?:\d\d_)+)", name)) is not None:
                for number in match[1].rstrip("_").split("_"):
                    assert int(number) in ROWS, f"{path}::{name}"
