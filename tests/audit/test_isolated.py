"""Processes that die: the item is named, all others get their results."""

import pytest

from sslkit import SslkitError
from sslkit.audit.isolated import Failure, isolated

WORK = """
import os, signal, sys, time
def work(item):
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "exit":
        os._exit(3)
    if item == "hang":
        time.sleep(600)
    if item == "raise":
        raise ValueError("odd")
    if item == "empty":
        raise MemoryError
    if item.endswith(".meet"):
        open(item, "w").close()
        while sum(name.endswith(".meet") for name in os.listdir(os.path.dirname(item))) < 2:
            time.sleep(0.01)
    print("noise of a decoder", file=sys.stderr)
    return item.upper(), os.getpid()
"""


@pytest.fixture
def work(site):
    (site / "isolated_work.py").write_text(WORK)
    import isolated_work

    return isolated_work.work


@pytest.mark.parametrize("workers", [1, 3])
def test_an_item_that_kills_its_process_is_named_and_ends_nothing(work, workers, capfd):
    items = ["a", "crash", "b", "memory", "exit", "c", "raise", "d", "empty", "e", "crash"]
    results = dict(isolated(work, items, workers=workers))
    assert sorted(results) == list(range(len(items)))
    reasons = {position: result.reason for position, result in results.items() if isinstance(result, Failure)}
    assert reasons == {
        1: "the process that read it died (SIGSEGV)",
        3: "the process that read it died (SIGKILL, perhaps for want of memory)",
        4: "the process that read it died (exit code 3)",
        6: "odd",
        8: "MemoryError",
        10: "the process that read it died (SIGSEGV)",
    }
    for position in set(results) - set(reasons):
        assert results[position][0] == items[position].upper()
    assert capfd.readouterr().err == ""


def test_an_item_that_takes_too_long_is_given_up(work):
    results = dict(isolated(work, ["a", "hang", "b"], workers=1, seconds=1))
    assert results[1] == Failure("reading it took more than 1 s")
    assert [results[position][0] for position in (0, 2)] == ["A", "B"]


def test_work_is_shared(work, tmp_path):
    # The first waits for another to be begun: the third, as one process is given two ahead.
    items = [str(tmp_path / f"{number}.meet") for number in range(3)]
    results = dict(isolated(work, items, workers=2, seconds=60))
    assert [results[number][0] for number in range(3)] == [item.upper() for item in items]
    assert len({process for _, process in results.values()}) == 2


def test_no_items_are_no_work(work):
    assert list(isolated(work, [])) == []


def test_a_process_that_cannot_start_is_said_at_once(site):
    module = site / "isolated_gone.py"
    module.write_text(WORK)
    import isolated_gone

    module.write_text("raise ImportError('gone')\n")
    with pytest.raises(SslkitError, match="cannot start"):
        list(isolated(isolated_gone.work, ["a"], workers=1))


def test_leaving_early_leaves_no_process_behind(work):
    import multiprocessing

    before = set(multiprocessing.active_children())
    for _ in isolated(work, ["a", "b", "hang"], workers=2):
        break
    assert set(multiprocessing.active_children()) <= before
