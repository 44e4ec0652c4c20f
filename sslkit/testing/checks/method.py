"""A method trains on any number of processes, in micro-batches and over interruptions, always to the same weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten

from sslkit.engine.artifact import save_artifact
from sslkit.engine.assemble import Pretraining
from sslkit.engine.interfaces import Batch, Progress, embeds
from sslkit.engine.pretrain import train
from sslkit.engine.weights import load_backbone
from sslkit.errors import SslkitError
from sslkit.registry.hookspecs import callback_manager, hookimpl
from sslkit.testing.recipes import TOYS, folder
from sslkit.testing.subject import Subject
from sslkit.testing.training import (
    STEPS,
    TOLERANCES,
    Trained,
    first_difference,
    one_and_two,
    percent,
    pretraining_of,
    relative,
    require_same_state_on_all_ranks,
    require_two_equal_one,
    same,
    state_of,
    trained,
)
from sslkit.text import one_line


def trains_through_the_engine(subject: Subject) -> None:
    """Three steps change its weights, and no loss, gradient or weight is not finite."""
    try:
        found = _trained(subject)
    except Exception as error:
        subject.fail("train for three steps", f"this happened: {_said(error)}", "see the cause above")
    learning = [name for gradients in found.gradients for name in gradients]
    still = [name for name in dict.fromkeys(learning) if same(found.before[name], found.after[name])]
    subject.require(
        learning and len(still) < len(set(learning)),
        "change its weights in three steps",
        "all are as they were",
        "return a loss that depends on the backbone's parameters",
    )


def every_parameter_learns(subject: Subject) -> None:
    """What requires a gradient gets one in the first step."""
    path = subject.recipe_file()
    pretraining = pretraining_of(path)
    pretraining.method.train()
    batch = _batch(pretraining)
    loss = pretraining.method.loss(_embedded(pretraining, batch), batch) if embeds(pretraining.method) else None
    returned = pretraining.method(batch) if loss is None else loss
    (returned[0] if isinstance(returned, tuple) else returned).backward()
    idle = [name for name, p in pretraining.method.named_parameters() if p.requires_grad and p.grad is None]
    subject.require(
        not idle,
        "give every parameter a gradient",
        f"{len(idle)} get none: {', '.join(idle[:5])}",
        "leave them out of the module, or set requires_grad = False",
    )


def embed_can_be_repeated(subject: Subject) -> None:
    """Called twice, `embed` returns the same and changes nothing but BatchNorm's statistics."""
    pretraining = _of_the_form_with_embed(subject)
    method = pretraining.method.train()
    batch = _batch(pretraining)
    norms = {name for name, part in method.named_modules() if isinstance(part, _BatchNorm)}
    before = state_of(method)
    first, second = (tree_flatten(_embedded(pretraining, batch))[0] for _ in range(2))
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        difference = relative(other.detach(), one.detach(), 1e-6)
        subject.require(
            difference < 1e-4,
            "return the same from embed(batch) when it is called again",
            f"tensor {number} of it differs by {percent(difference)}",
            "draw with batch.uniforms, or from torch's generator, and change nothing in embed: queues, centres and "
            "counters move in after_step",
        )
    for name, tensor in method.state_dict().items():
        subject.require(
            name.rpartition(".")[0] in norms or same(tensor, before[name]),
            "change nothing in embed but BatchNorm's statistics",
            f"{name} has changed",
            "embed may run twice a step; keep what is to be changed, and change it in after_step",
        )


def micro_batches_equal_the_whole_batch(subject: Subject) -> None:
    """Cached gradients are those of the whole batch; BatchNorm, which sees micro-batches, stands still for this."""
    _of_the_form_with_embed(subject)
    paths = [subject.recipe_file(), subject.recipe_file(micro_batch_size=4)]
    dtype = one_and_two(subject)[0]
    whole, cut = (trained(path, dtype, norms_frozen=True) for path in paths)
    for found, size in first_difference(whole, cut, TOLERANCES[dtype]):
        subject.fail(
            "have the same gradient in micro-batches as in one",
            f"{found} differs by {percent(size)}",
            "embed may look at each image alone only; what compares images belongs in loss(embeddings, batch), which "
            "sees the whole batch, and may not look at batch.views in place of the embeddings",
        )


def two_processes_equal_one(subject: Subject) -> None:
    """Losses, gradients, weights and buffers of three steps are those of a single process."""
    require_two_equal_one(subject)


def state_is_the_same_on_all_ranks(subject: Subject) -> None:
    """A checkpoint keeps the first rank's."""
    require_same_state_on_all_ranks(subject)


def resumed_equals_uninterrupted(subject: Subject) -> None:
    """Stopped after two of four steps and gone on with from the checkpoint, its weights are the same bit for bit."""
    path = subject.recipe_file(checkpoint_every_steps=2)
    whole = pretraining_of(path)
    train(whole, callback_manager([]))
    checkpoints = folder()
    stopped = pretraining_of(path)
    try:
        train(stopped, callback_manager([_Stop(2)]), checkpoints=checkpoints)
    except _StoppedError:
        pass
    except SslkitError as error:
        subject.fail(
            "be saved in a checkpoint",
            str(error),
            "its state dict holds tensors and JSON scalars: register tensors as buffers, leave get_extra_state out",
        )
    resumed = pretraining_of(path)
    try:
        train(resumed, callback_manager([]), checkpoints=checkpoints)
    except (SslkitError, RuntimeError) as error:
        subject.fail(
            "go on from its own checkpoint",
            f"that is refused: {_said(error)}",
            "names and shapes in a state dict are the same at any step: register buffers at their full size",
        )
    after = resumed.method.state_dict()
    for name, tensor in whole.method.state_dict().items():
        subject.require(
            same(tensor, after[name]),
            "come to the same weights, bit for bit, when it is stopped and gone on with",
            f"{name} differs by {percent(relative(after[name], tensor, 1e-12))}",
            "what later steps depend on is a buffer, or a function of progress; draw with batch.uniforms",
        )


def keeps_its_state_in_its_state_dict(subject: Subject) -> None:
    """A fresh method with the state dict of a trained one takes the same next step."""
    path = subject.recipe_file()
    old, fresh = pretraining_of(path), pretraining_of(path)
    for method in (old.method, fresh.method):
        method.train()
    per_epoch = old.order.steps_per_epoch
    raws = list(old.batches.stream(0, STEPS))
    for step, raw in enumerate(raws[:-1]):
        old.stepper.step(raw, Progress(step, STEPS + 1, per_epoch))
    fresh.method.load_state_dict(state_of(old.method))
    last = Progress(STEPS - 1, STEPS + 1, per_epoch)
    losses = [float(each.stepper.step(raws[-1], last)[1]["loss"]) for each in (old, fresh)]
    subject.require(
        losses[0] == losses[1],
        "keep all of its state in its state dict",
        f"a fresh one with the same state dict has the loss {losses[1]:.8g} where the trained one has {losses[0]:.8g}",
        "register what later steps depend on as a buffer, or compute it from progress",
    )


def backbone_can_be_kept(subject: Subject) -> None:
    """What it calls `backbone` is saved, loaded strictly into a fresh component, and has the same features there."""
    built = subject.build()
    pretraining = built.pretraining
    assert pretraining is not None
    backbone = getattr(pretraining.method, "backbone", None)
    subject.require(
        isinstance(backbone, torch.nn.Module),
        "have a module called backbone",
        f"it is {type(backbone).__name__}",
        "set self.backbone, or a property: it is what is exported and evaluated",
    )
    model = pretraining.frozen()
    images = pretraining.stepper.make_batch(next(pretraining.batches.stream(0, 1)), Progress(0, 1, 1)).views[0]
    place = folder()
    by_hand = built.cards["backbone"] is None  # the method makes its own
    (place / "plugins").mkdir()
    for plugin in (TOYS, *subject.plugins):  # as a run keeps them
        shutil.copy(plugin, place / "plugins")
    save_artifact(place, model, backbone=built.cards["backbone"], head=built.cards["head"])
    try:
        fresh = pretraining_of(subject.recipe_file()).method.backbone if by_hand else None
        loaded = load_backbone(place, backbone=fresh)
    except SslkitError as error:
        subject.fail(
            "keep a backbone that a fresh component can take over",
            f"that fails: {error}",
            "method.backbone is the component as it was given, or a copy of it, and nothing is added to it",
        )
    subject.require(
        relative(loaded(images), model(images), 1e-6) < 1e-4,
        "keep a backbone whose features are the same once it is loaded",
        "they differ",
        "what its features depend on is in its state dict",
    )


def a_step_in_bf16_is_finite(subject: Subject) -> None:
    """With `precision = "bf16"` losses, gradients and weights are finite, and near those of float32."""
    path = subject.recipe_file(precision="bf16")
    try:
        found = trained(path, steps=1)
    except Exception as error:
        subject.fail(
            'train with precision = "bf16"',
            _said(error),
            "features come in bfloat16 then; compute the loss in float32: features.float()",
        )
    plain = _trained(subject)
    subject.require(
        abs(found.losses[0] - plain.losses[0]) < 0.1 * max(1.0, abs(plain.losses[0])),
        'have nearly the same loss with precision = "bf16"',
        f"it is {found.losses[0]:.4g} in place of {plain.losses[0]:.4g}",
        "compute the loss in float32, outside autocast: sslkit.full_precision(z.device)",
    )


class _StoppedError(Exception):
    pass


class _Stop:
    """Ends a pretraining once a checkpoint of some step is saved, as a machine that is switched off."""

    def __init__(self, step: int) -> None:
        self._step = step

    @hookimpl
    def sslkit_checkpoint_saved(self, state: Any, path: Path) -> None:
        if state.step == self._step:
            raise _StoppedError


def _trained(subject: Subject) -> Trained:
    """Return three steps without weight decay: what moves then has a gradient."""
    return subject.once("trained", lambda: trained(subject.recipe_file(optimizer={"weight_decay": 0.0})))


def _of_the_form_with_embed(subject: Subject) -> Pretraining:
    pretraining = pretraining_of(subject.recipe_file())
    if not embeds(pretraining.method):
        subject.skip("has no embed and loss, so its batch is never cut")
    return pretraining


def _batch(pretraining: Pretraining) -> Batch:
    return pretraining.stepper.make_batch(next(pretraining.batches.stream(0, 1)), Progress(0, STEPS, STEPS))


def _embedded(pretraining: Pretraining, batch: Batch) -> Any:
    torch.manual_seed(0)  # as the engine does before each
    return pretraining.method.embed(batch)


def _said(error: Exception) -> str:
    return one_line(error if isinstance(error, SslkitError) else f"{type(error).__name__}: {error}", 1000)
