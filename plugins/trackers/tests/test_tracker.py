"""A tracker sees a real run, and cannot harm it."""

from __future__ import annotations

import json
import time

import pytest

PLUGIN = """
import json
import threading

from sslkit import hookimpl
from sslkit_trackers import Tracker

SSLKIT_API = 1


class Sink:
    def __init__(self, behaviour):
        self.behaviour = behaviour

    def _called(self, *call):
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + chr(10))

    def begin(self, name, folder, recipe):
        self.path = folder / "calls.jsonl"
        self._called("begin", name, recipe["pretrain"]["batch_size"])
        if self.behaviour == "raises":
            raise ConnectionError("nobody is there")
        if self.behaviour == "hangs":
            threading.Event().wait()

    def log(self, step, numbers):
        self._called(step, sorted(numbers))

    def end(self, failed):
        self._called("end", failed)


class Toy(Tracker):
    def __init__(self, *, behaviour: str = "good", every_steps: int = 1) -> None:
        super().__init__("toy", Sink(behaviour), every_steps=every_steps, patience_seconds=1.0)


@hookimpl
def sslkit_register(register):
    register.callback("toy", f"{__name__}:Toy", summary="A toy.")
"""


@pytest.fixture
def toy(tmp_path, watched):
    (tmp_path / "toy.py").write_text(PLUGIN, encoding="utf-8")

    def watch(behaviour, every_steps=1):
        table = f'{{ name = "local.toy", behaviour = "{behaviour}", every_steps = {every_steps} }}'
        folder = watched(table, plugins='"toy.py"')
        lines = (folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        return folder, [json.loads(line) for line in lines]

    return watch


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_is_told_of_the_recipe_every_step_and_the_scores(toy):
    folder, calls = toy("good")
    assert calls[0] == ["begin", "watched", 32]
    assert [call[0] for call in calls[1:5]] == [1, 2, 3, 4]
    assert "pretrain/loss" in calls[1][1]
    assert calls[5][0] == 4
    assert calls[5][1][0].startswith("evaluate/")
    assert calls[-1] == ["end", False]
    assert steps(folder) == [1, 2, 3, 4]


def test_it_is_told_of_every_third_step_and_the_last(toy):
    _, calls = toy("good", every_steps=3)
    assert [call[0] for call in calls[1:3]] == [3, 4]


@pytest.mark.parametrize(("behaviour", "said"), [("raises", "toy is given up"), ("hangs", "did not finish within")])
def test_one_that_raises_or_hangs_leaves_the_run_alone(toy, caplog, behaviour, said):
    start = time.monotonic()
    folder, calls = toy(behaviour)
    assert time.monotonic() - start < 60
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["status"] == "finished"
    assert steps(folder) == [1, 2, 3, 4]
    assert len(calls) == 1
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()]
