"""What the rows of the fault table need: the toy run of the engine's tests, armed points made inert again, forks."""

from __future__ import annotations

import importlib.util
import os
import traceback
from pathlib import Path

import pytest

from sslkit import faults, run

_SPEC = importlib.util.spec_from_file_location("engine_conftest", Path(__file__).parents[1] / "engine" / "conftest.py")
_engine = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_engine)
toy, recipe_file = _engine.toy, _engine.recipe_file


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run; a test that breaks something in it puts it back."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "toy.toml").write_text(_engine.RECIPE)
    return run(folder / "toy.toml", into=folder / "run").folder


@pytest.fixture(autouse=True)
def inert():
    """Leave nothing armed behind."""
    yield
    faults.disarm()


@pytest.fixture
def forked():
    """Return a function that calls another in a forked process, which has torch loaded already; returns its exit code.

    Negative: the signal that ended it. What it raised is printed, and gives 1.
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")

    def call(function):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                function()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return call
