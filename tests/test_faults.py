"""Fault points: what is armed happens where, when and on whom it says; unarmed, nothing does."""

import ast
import errno
import math
import signal
import subprocess
import sys
import timeit
from collections import Counter
from pathlib import Path

import pytest

from sslkit import RunError, faults

SOURCE = Path(faults.__file__).parent


@pytest.fixture(autouse=True)
def inert():
    yield
    faults.disarm()


def test_nothing_happens_unarmed(tmp_path):
    for name in faults.POINTS:
        faults.fault(name, step=1, path=tmp_path / "none")
    loss = object()
    assert faults.value("step.loss", loss, step=1) is loss


def test_every_point_is_in_the_source_once_and_the_source_has_no_others():
    """`value` points and `file` points are called as such; the number of a point is given if the table says so."""
    found = Counter()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called not in ("fault", "value") or not (node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = node.args[0].value
            found[name] += 1
            point = faults.POINTS[name]
            assert (called == "value") == (point.gives == "value"), name
            given = {keyword.arg for keyword in node.keywords}
            assert ("step" in given) == bool(point.step), name
            assert ("path" in given) == (point.gives == "file"), name
    assert found == Counter(dict.fromkeys(faults.POINTS, 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("checkpoint", r"write NAME:ACTION\[@STEP\]\[,rank=R\]"),
        ("step.start:kill@-1", "write NAME:ACTION"),
        ("step.start:kill,rank=a", "write NAME:ACTION"),
        ("checkpoint.befor_rename:kill", 'no point "checkpoint.befor_rename"; did you mean "checkpoint.before_rename"'),
        ("step.start:kil", 'no action "kil"; did you mean "kill"'),
        ("step.start:nan", "step.start has no value to spoil; say one of step.loss, step.gradient"),
        ("step.loss:flip", "has no file to spoil; say one of checkpoint.before_manifest"),
        ("run.start:kill@3", "run.start has no step; leave @3 out"),
    ],
)
def test_what_cannot_be_armed_says_why(text, reason):
    with pytest.raises(RunError, match=reason):
        faults.arm(text)
    assert faults.armed() == []


def test_it_happens_at_its_step_and_on_its_rank_only(monkeypatch):
    faults.arm("step.start:raise@3,rank=1")
    for rank, step in (("0", 3), ("1", 2), ("1", 4)):
        monkeypatch.setenv("RANK", rank)
        faults.fault("step.start", step=step)
    faults.fault("evaluate.start", step=3)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(RuntimeError, match=r"raised on purpose at step\.start"):
        faults.fault("step.start", step=3)
    assert faults.armed() == ["step.start:raise@3,rank=1"]
    faults.disarm()
    faults.fault("step.start", step=3)


def test_without_a_step_it_happens_every_time():
    faults.arm("step.loss:nan")
    assert [math.isnan(faults.value("step.loss", 2.0, step=step)) for step in (1, 2)] == [True, True]


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("eacces", errno.EACCES)])
def test_the_system_refuses(action, number):
    faults.arm(f"checkpoint.write:{action}")
    with pytest.raises(OSError) as caught:
        faults.fault("checkpoint.write", step=1)
    assert caught.value.errno == number


def test_one_bit_flips_and_flips_back(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    faults.arm("save_artifact:flip")
    faults.fault("save_artifact", path=path)
    assert path.read_bytes() == b"acc"
    faults.fault("save_artifact", path=path)
    assert path.read_bytes() == b"abc"


def test_a_stop_is_asked_for_and_the_program_goes_on():
    asked = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        faults.arm("step.start:sigterm@2")
        for step in (1, 2, 3):
            faults.fault("step.start", step=step)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert asked == [signal.SIGTERM]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", 1), ("hang", None)])
def test_the_process_ends_or_hangs(action, code):
    script = f"from sslkit import faults; faults.arm('run.start:{action}'); print(1, flush=True); "
    script += "faults.fault('run.start'); print(2, flush=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=SOURCE.parent) as process:
        assert process.stdout.readline() == b"1\n"
        if code is None:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.3)
            process.kill()
        else:
            assert process.wait(timeout=30) == code
        assert process.stdout.read() == b""


def test_an_unarmed_point_costs_next_to_nothing():
    assert min(timeit.repeat(lambda: faults.fault("step.start", step=3), number=10_000, repeat=5)) < 0.02  # 2 µs each
