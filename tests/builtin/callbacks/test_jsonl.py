"""metrics.jsonl: whole lines, strict JSON, and right again after a kill."""

import json
from types import SimpleNamespace

import pytest

from sslkit.builtin.callbacks import jsonl
from sslkit.builtin.callbacks.jsonl import Jsonl, drop_lines_after, json_line


def started(folder, step=0):
    callback = Jsonl()
    callback.sslkit_run_start(run=SimpleNamespace(folder=folder))
    callback.sslkit_pretrain_start(state=SimpleNamespace(step=step, total_steps=10))
    return callback


def read(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_one_compact_line_per_step_readable_at_once(tmp_path):
    callback = started(tmp_path)
    callback.sslkit_metrics(record={"step": 1, "loss": 0.5})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step":1,"loss":0.5}\n'
    callback.sslkit_metrics(record={"step": 2, "loss": 0.25})
    callback.sslkit_run_end()
    assert read(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_numbers_that_are_not_finite_become_null():
    line = json_line({"step": 3, "loss": float("nan"), "a": float("inf"), "b": -float("inf"), "c": 1})
    assert line == '{"step":3,"loss":null,"a":null,"b":null,"c":1}\n'


def test_a_resumed_run_drops_later_and_torn_lines_and_goes_on(tmp_path):
    callback = started(tmp_path)
    for step in range(1, 8):
        callback.sslkit_metrics(record={"step": step, "loss": 1 / step})
    callback.sslkit_run_failed()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step":8,"lo')
    again = started(tmp_path, step=5)
    again.sslkit_metrics(record={"step": 6, "loss": 0.0})
    again.sslkit_run_end()
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[4]["loss"] == 1 / 5
    assert lines[5]["loss"] == 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_a_line_that_only_lacks_its_end_gets_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\n{"step":2}')
    drop_lines_after(path, 2)
    assert path.read_text() == '{"step":1}\n{"step":2}\n'


def test_a_file_with_nothing_to_drop_is_not_touched(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\n{"note":"no step"}\n')
    before = path.stat()
    drop_lines_after(path, 1)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_kill_while_dropping_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step":1}\n{"step":2}\n')

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(jsonl.os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        drop_lines_after(path, 1)
    assert path.read_text() == '{"step":1}\n{"step":2}\n'


def test_a_run_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback = started(None)
    callback.sslkit_metrics(record={"step": 1})
    callback.sslkit_run_end()
    assert list(tmp_path.iterdir()) == []


def test_its_hooks_are_known():
    from sslkit.registry.hookspecs import callback_manager

    callback_manager([Jsonl()])
