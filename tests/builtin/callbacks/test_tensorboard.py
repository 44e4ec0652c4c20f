"""TensorBoard: scalars at the right steps, scores of evaluations, and one line when the package is missing."""

import sys
from types import SimpleNamespace

import pytest

from sslkit import Outcome, SslkitError
from sslkit.builtin.callbacks.tensorboard import TensorBoard
from sslkit.registry.hookspecs import callback_manager


def read(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def run_steps(callback, folder, steps, start=0, loss=lambda step: float(step)):
    manager = callback_manager([callback])
    manager.hook.sslkit_run_start(run=SimpleNamespace(folder=folder))
    state = SimpleNamespace(step=start, total_steps=7)
    manager.hook.sslkit_pretrain_start(state=state)
    for step in steps:
        manager.hook.sslkit_metrics(state=state, record={"step": step, "epoch": 0, "loss": loss(step)})
    return manager


def test_scalars_are_written_every_so_many_steps_and_at_the_last(tmp_path):
    pytest.importorskip("tensorboard")
    manager = run_steps(TensorBoard(every_steps=3), tmp_path, range(1, 8))
    manager.hook.sslkit_evaluation_end(run=None, name="linear h", outcome=Outcome("top1", {"top1": 0.75}))
    manager.hook.sslkit_run_end(summary={})
    scalars = read(tmp_path)
    assert scalars["pretrain/loss"] == [(3, 3.0), (6, 6.0), (7, 7.0)]
    assert scalars["evaluate/linear_h/top1"] == [(7, 0.75)]
    assert len(scalars) == 2


def test_steps_done_again_after_a_kill_replace_the_old_ones(tmp_path):
    pytest.importorskip("tensorboard")
    run_steps(TensorBoard(every_steps=1), tmp_path, range(1, 6)).hook.sslkit_run_failed(error=OSError())
    again = run_steps(TensorBoard(every_steps=1), tmp_path, range(4, 8), start=3, loss=lambda step: 10.0 * step)
    again.hook.sslkit_run_end(summary={})
    assert read(tmp_path)["pretrain/loss"] == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60), (7, 70)]


def test_scores_of_a_run_that_only_evaluates_are_at_the_step_it_stands_at(tmp_path):
    pytest.importorskip("tensorboard")
    manager = run_steps(TensorBoard(), tmp_path, [], start=7)
    manager.hook.sslkit_evaluation_end(run=None, name="knn h", outcome=Outcome("top1", {"top1": 0.25}))
    manager.hook.sslkit_run_end(summary={})
    assert read(tmp_path) == {"evaluate/knn_h/top1": [(7, 0.25)]}


def test_a_run_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    manager = run_steps(TensorBoard(), None, range(1, 8))
    manager.hook.sslkit_evaluation_end(run=None, name="knn h", outcome=Outcome("top1", {"top1": 0.75}))
    manager.hook.sslkit_run_end(summary={})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_said_at_construction(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SslkitError, match=r'pip install "sslkit\[tensorboard\]"') as caught:
        TensorBoard()
    assert "\n" not in str(caught.value)
