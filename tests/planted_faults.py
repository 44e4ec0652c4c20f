"""Tests of tests: a fault is planted in a function, and a test is to notice. Tables of faults are beside the tests."""

import inspect
import textwrap

import pytest


def named(fault):
    """Return the name of a row (function, what stands there, what is put in its place, who must notice)."""
    function, old, new, _ = fault
    return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}: {old} -> {new or 'nothing'}"


def require_noticed(fault, monkeypatch):
    """Plant the fault of a row, and fail if its test does not."""
    function, old, new, test = fault
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, "the code has changed: give the table a fault that fits it"
    made = {}
    exec(source.replace(old, new, 1), function.__globals__, made)
    # Only the code is exchanged, so that everyone who holds the function meets the fault.
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)
    with pytest.raises(AssertionError):
        test()
