"""A callback only watches: a run with it trains as a run without."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sslkit.engine.run import run
from sslkit.engine.trees import flatten, unflatten
from sslkit.errors import PluginError, SslkitError
from sslkit.registry.hookspecs import RunHooks, callback_manager, hookimpl
from sslkit.testing.recipes import folder
from sslkit.testing.subject import Subject
from sslkit.testing.training import same, state_of
from sslkit.text import did_you_mean


def hooks_exist(subject: Subject) -> None:
    """Each method marked with `hookimpl` has the name and arguments of a hook, and there is one."""
    callback = _callback(subject)
    try:
        manager = callback_manager([callback])
    except PluginError as error:
        names = [name for name in dir(type(callback)) if name.startswith("sslkit_")]
        known = [name for name in vars(RunHooks) if name.startswith("sslkit_")]
        advice = "".join(did_you_mean(name, known) for name in names if name not in known).removeprefix("; ")
        subject.fail("implement hooks that exist", str(error), advice or "see the hooks of a run in the reference")
    plugin_hooks = [hook for plugin in manager.get_plugins() for hook in manager.get_hookcallers(plugin) or ()]
    subject.require(
        plugin_hooks, "implement a hook", "it has none", "mark a method with @hookimpl: sslkit_step_end(self, state)"
    )


def survives_a_run(subject: Subject) -> None:
    """Four steps, a checkpoint, and an evaluation."""
    try:
        _watched(subject)
    except Exception as error:
        kind = "" if isinstance(error, SslkitError) else f"{type(error).__name__}: "
        subject.fail("survive a small run", f"it ends with {kind}{error}", "see the cause above")


def does_not_change_the_training(subject: Subject) -> None:
    """Weights and buffers after four steps are those of a run without it, bit for bit."""
    found = _watched(subject)
    expected = subject.once("unwatched", lambda: _run(subject, callbacks=[])).weights
    for name, tensor in expected.items():
        subject.require(
            same(tensor, found.weights[name]),
            "leave the training as it is",
            f"{name} differs from that of a run without it",
            "only read: work on copies, restore the mode, and seed what it draws with sslkit.seeded",
        )


def state_survives_a_checkpoint(subject: Subject) -> None:
    """A fresh one that is given its state has the same state."""
    callback, fresh = _watched(subject).callback, _callback(subject)
    if not hasattr(callback, "state_dict"):
        subject.skip("has no state_dict")
    try:
        tensors, skeleton = flatten(callback.state_dict())
    except SslkitError as error:
        subject.fail("have a state that a checkpoint can hold", str(error), "return tensors and JSON scalars")
    fresh.load_state_dict(unflatten(skeleton, tensors))
    others, again = flatten(fresh.state_dict())
    subject.require(
        again == skeleton and all(same(tensors[path], others[path]) for path in tensors),
        "have the state that it was given",
        "a fresh one has another after load_state_dict",
        "set everything in load_state_dict that state_dict returns",
    )


class _Watched(NamedTuple):
    callback: Any
    weights: dict[str, Tensor]


class _Spy:
    """Keeps the state of a pretraining while it is there."""

    def __init__(self) -> None:
        self.state: Any = None
        self.weights: dict[str, Tensor] = {}

    @hookimpl
    def sslkit_pretrain_start(self, state: Any) -> None:
        self.state = state

    @hookimpl
    def sslkit_checkpoint_saved(self, state: Any, path: Path) -> None:
        self.weights = state_of(state.method)


def _watched(subject: Subject) -> _Watched:
    return subject.once("watched", lambda: _run(subject))


def _run(subject: Subject, **pretrain: Any) -> _Watched:
    spy = _Spy()
    run(subject.recipe(**pretrain), into=folder() / "run", device="cpu", workers=0, watchers=[spy])
    callbacks = spy.state.pretraining.callbacks
    return _Watched(next((each for each in callbacks if each is not spy), None), spy.weights)


def _callback(subject: Subject) -> Any:
    pretraining = subject.build().pretraining
    assert pretraining is not None
    return pretraining.callbacks[0]
