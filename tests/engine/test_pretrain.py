from __future__ import annotations

import os
import signal
import sys

import pytest
import torch
import toy_plugin
from torch import nn

from sslkit import PluginError, RunError, constant, evaluate, hookimpl, knn, pretrain
from sslkit.engine.assemble import assemble
from sslkit.engine.pretrain import train
from sslkit.engine.stops import Stopped, Stops
from sslkit.registry.hookspecs import callback_manager


class Log:
    def __init__(self):
        self.records = []
        self.calls = []

    @hookimpl
    def sslkit_metrics(self, record):
        self.records.append(record)

    @hookimpl
    def sslkit_epoch_end(self, state, metrics):
        self.calls.append(("epoch", state.step, metrics["step"]))

    @hookimpl
    def sslkit_checkpoint_saved(self, path):
        self.calls.append(("saved", path.name))


class Interruption(Exception):
    pass


class InterruptAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            raise Interruption


def run(parts, checkpoints=None, callbacks=(), stops=None, identity=None, **changes):
    settings = {**parts.settings, **changes}
    pretraining = assemble(parts.method, parts.data, parts.views, parts.optimizer, callbacks=callbacks, **settings)
    train(pretraining, callback_manager(pretraining.callbacks), checkpoints=checkpoints, stops=stops, identity=identity)
    return {name: value.clone() for name, value in parts.method.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_every_step_is_logged_in_order(toy):
    log = Log()
    run(toy(), callbacks=[log])
    assert [record["step"] for record in log.records] == list(range(1, 13))
    assert [record["epoch"] for record in log.records] == [0] * 4 + [1] * 4 + [2] * 4
    assert {"loss", "gradient_norm", "agreement", "learning_rate", "images_per_second", "data_wait"} <= set(
        log.records[0]
    )
    assert log.calls == [("epoch", 4, 4), ("epoch", 8, 8), ("epoch", 12, 12)]


def test_it_learns(toy):
    log = Log()
    run(toy(), callbacks=[log], epochs=30)
    assert log.records[-1]["loss"] < 0.8 * log.records[0]["loss"]


def test_two_runs_are_equal_and_another_seed_is_not(toy):
    first = run(toy(dropout=0.3))
    assert same(first, run(toy(dropout=0.3)))
    assert not same(first, run(toy(dropout=0.3), seed=1))


@pytest.mark.parametrize("step", range(1, 13))
def test_interrupted_at_any_step_equals_uninterrupted(toy, tmp_path, step):
    whole = run(toy(dropout=0.3))
    with pytest.raises(Interruption):
        run(toy(dropout=0.3), tmp_path, [toy_plugin.Counter(), InterruptAt(step)], checkpoint_every_steps=3)
    counter = toy_plugin.Counter()
    assert same(whole, run(toy(dropout=0.3), tmp_path, [counter], checkpoint_every_steps=3))
    assert counter.steps == 12


def test_a_finished_pretraining_is_not_trained_again(toy, tmp_path):
    whole = run(toy(), tmp_path)
    log = Log()
    assert same(whole, run(toy(), tmp_path, [log]))
    assert log.records == []


def test_checkpoints_come_when_asked_for(toy, tmp_path):
    log = Log()
    run(toy(), tmp_path, [log], checkpoint_every_steps=5, checkpoint_every_epochs=2)
    saved = [call[1] for call in log.calls if call[0] == "saved"]
    assert saved == ["step-00000005", "step-00000008", "step-00000010", "step-00000012"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_stops_after_the_step_with_a_checkpoint(toy, tmp_path, name):
    class Signalled:
        @hookimpl
        def sslkit_step_end(self, state):
            if state.step == 6:
                os.kill(os.getpid(), getattr(signal, name))

    whole = run(toy())
    with Stops() as stops, pytest.raises(Stopped, match=f"stopped by {name} after step 6 of 12"):
        run(toy(), tmp_path, [Signalled()], stops)
    assert (tmp_path / "step-00000006").is_dir()
    assert same(whole, run(toy(), tmp_path))


def test_a_second_ctrl_c_stops_at_once():
    former = signal.getsignal(signal.SIGINT)
    with Stops() as stops:
        os.kill(os.getpid(), signal.SIGINT)
        assert stops.requested == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former


def test_other_data_or_another_recipe_is_refused(toy, tmp_path):
    run(toy(), tmp_path, identity={"data": "a", "recipe": 1})
    with pytest.raises(RunError, match="the images on which this run began are not these: .*start a new run"):
        run(toy(), tmp_path, identity={"data": "b", "recipe": 1})


def test_a_diverging_run_saves_nothing_that_is_not_finite(toy, tmp_path):
    parts = toy()
    jump = {"learning_rate": lambda progress: 1.0 if progress.step < 3 else 1e30}
    with pytest.raises(RunError, match="step 4: the .* is (nan|inf).*the last good checkpoint is .*step-00000003"):
        run(parts, tmp_path, schedules=jump, epochs=30, checkpoint_every_steps=1)
    from sslkit.engine.checkpoint import choose_checkpoint, read_checkpoint

    saved, _ = read_checkpoint(choose_checkpoint(tmp_path))
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_a_method_with_forward_only_trains(toy):
    class Centre(nn.Module):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone

        def forward(self, batch):
            return sum(self.backbone(view).square().mean() for view in batch.views)

    parts = toy()
    parts.method = Centre(parts.method.backbone)
    before = {name: value.clone() for name, value in parts.method.state_dict().items()}
    assert not same(before, run(parts))


def test_any_dataset_of_images_will_do(toy):
    parts = toy()
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    model = pretrain(
        parts.method,
        [(image, -1) for image in images],
        parts.views,
        parts.optimizer,
        **parts.settings,
    )
    assert model(torch.rand(5, 3, 16, 16)).shape == (5, 8)


def test_hooks_that_do_not_exist_are_refused(toy):
    class Misspelt:
        @hookimpl
        def sslkit_step_ended(self, state):
            pass

    with pytest.raises(Exception, match="sslkit_step_ended"):
        run(toy(), callbacks=[Misspelt()])


def test_an_unknown_scaling_is_refused(toy):
    with pytest.raises(RunError, match="should be one of none, linear, sqrt"):
        run(toy(), learning_rate_scaling="cubic")


def pretrained(parts, **settings):
    """Return the frozen copy after a pretraining from Python."""
    return pretrain(parts.method, parts.data, parts.views, parts.optimizer, **(parts.settings | settings))


def test_the_method_can_be_trained_on_and_what_was_returned_stays(toy):
    parts = toy()
    first = pretrained(parts, epochs=1)
    kept = {name: value.clone() for name, value in first.state_dict().items()}
    second = pretrained(parts, epochs=1)
    assert same(first.state_dict(), kept)
    assert not same(second.state_dict(), kept)
    assert all(parameter.requires_grad for parameter in parts.method.parameters())
    assert not any(parameter.requires_grad for parameter in second.parameters())


def test_nothing_to_train_is_refused(toy):
    parts = toy()
    parts.method.requires_grad_(False)
    with pytest.raises(RunError, match="JointEmbedding has nothing to train: no parameter of it has requires_grad"):
        pretrained(parts)


def test_the_random_generator_is_left_as_it_was(toy):
    parts = toy(dropout=0.5)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrained(parts, epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": 0.5}, r"began with learning_rate 0\.1, not 0\.5; start a new run"),
        ({"seed": 7, "batch_size": 8}, "began with batch_size 16, not 8 and seed 0, not 7"),
        ({"precision": "bf16"}, "began with precision float32, not bf16"),
    ],
)
def test_checkpoints_of_other_settings_are_not_continued(toy, tmp_path, settings, said):
    pretrained(toy(), checkpoints=str(tmp_path / "kept"), epochs=1)
    with pytest.raises(RunError, match=said):
        pretrained(toy(), checkpoints=tmp_path / "kept", epochs=1, **settings)
    longer = pretrained(toy(), checkpoints=tmp_path / "kept", epochs=2)
    assert same(longer.state_dict(), pretrained(toy(), epochs=2).state_dict())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "fp32"}, r"precision = 'fp32': should be one of float32, bf16"),
        ({"schedules": {"lr": constant()}}, "schedules = 'lr': should be one of learning_rate, weight_decay"),
        ({"epochs": 0}, "epochs = 0: should be a whole number from 1"),
        ({"epochs": 1.5}, r"epochs = 1\.5: should be a whole number from 1"),
        ({"batch_size": 16.0}, r"batch_size = 16\.0: should be a whole number from 1"),
        ({"checkpoint_every_epochs": 0}, "checkpoint_every_epochs = 0: should be a whole number from 1"),
        ({"checkpoint_every_steps": -1}, "checkpoint_every_steps = -1: should be a whole number from 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(toy, settings, said):
    with pytest.raises(RunError, match=said):
        pretrained(toy(), **settings)


class Marked:
    @hookimpl
    def sslkit_step_end(self, state):
        pass


class Unmarked:
    def sslkit_step_end(self, state):
        pass


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ([Unmarked()], "Unmarked.sslkit_step_end is not marked as a hook; write @sslkit.hookimpl above it"),
        ([Unmarked], r"the callback Unmarked is a class; give an object of it: Unmarked\(\)"),
    ],
)
def test_callbacks_that_would_never_be_called_are_refused(toy, callbacks, said):
    with pytest.raises(PluginError, match=said):
        pretrained(toy(), callbacks=callbacks)


def test_a_callback_twice_is_refused(toy):
    watcher = Marked()
    with pytest.raises(PluginError, match="a callback is there twice; give each once"):
        pretrained(toy(), callbacks=[watcher, watcher])


def test_a_data_set_without_splits_cannot_be_evaluated_on(toy):
    model = pretrained(toy(), steps=1, epochs=None)
    with pytest.raises(
        RunError, match=r"list has no splits; evaluations want num_classes, class_names and split\(name\)"
    ):
        evaluate(model, [], [knn()])
