"""The queue: in order, never raising, never blocking, whatever the calls do."""

from __future__ import annotations

import threading
import time

import pytest
from sslkit_trackers import Background


@pytest.fixture
def warnings(caplog):
    caplog.set_level("WARNING", "sslkit")
    return lambda: [record.getMessage() for record in caplog.records]


def test_calls_happen_in_order_and_before_close_returns(warnings):
    done = []
    background = Background("it", patience_seconds=10)
    for number in range(100):
        background.submit(lambda number=number: done.append(number))
    background.close()
    assert done == list(range(100))
    assert warnings() == []


@pytest.mark.parametrize("error", [RuntimeError("\x1b[31mno route"), SystemExit(3), KeyboardInterrupt()])
def test_a_call_that_raises_is_told_once_and_is_the_last(warnings, error):
    done = []
    background = Background("it", patience_seconds=10)

    def fail():
        raise error

    background.submit(fail)
    background.submit(lambda: done.append(1))
    background.close()
    background.submit(fail)
    assert done == []
    (said,) = warnings()
    assert said.startswith(f"it is given up, the run goes on: {type(error).__name__}")
    assert "\x1b" not in said


def test_a_call_that_never_returns_is_waited_for_no_longer_than_told(warnings):
    released = threading.Event()
    background = Background("it", patience_seconds=0.3)
    background.submit(released.wait)
    background.submit(lambda: None)
    start = time.monotonic()
    background.close()
    assert time.monotonic() - start < 2
    assert "did not finish within" in warnings()[0]
    assert "2 calls are left out" in warnings()[0]
    released.set()


def test_what_finds_no_room_is_left_out_and_counted(warnings):
    released, done = threading.Event(), []
    background = Background("it", patience_seconds=10, capacity=3)
    background.submit(released.wait)
    while not background._calls.empty():
        time.sleep(0.01)
    start = time.monotonic()
    for number in range(10):
        background.submit(lambda number=number: done.append(number))
    assert time.monotonic() - start < 1
    released.set()
    background.close()
    assert done == [0, 1, 2]
    assert "does not keep up" in warnings()[0]
    assert warnings()[1] == "it did not keep up: 7 calls were left out there"


def test_closing_twice_is_closing_once(warnings):
    background = Background("it", patience_seconds=10)
    background.close()
    background.close()
    assert warnings() == []
