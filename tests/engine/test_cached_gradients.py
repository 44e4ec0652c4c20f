"""Cached gradients are the gradients of the whole batch, in float64 and to rounding."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from sslkit import Batch, JointEmbedding, NonFiniteError, PluginError, Progress, RunError, hookimpl
from sslkit.engine.assemble import assemble
from sslkit.engine.cached_gradients import LOSS, LazyViews
from sslkit.engine.pretrain import train
from sslkit.engine.randomness import step_seed
from sslkit.registry.hookspecs import callback_manager

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))

from double import OBJECTIVES, Network, Shifts, three_steps

BATCH_SIZE = 16


def largest_difference(first, second):
    """Return the largest difference between two trees of tensors, relative to the largest value of each tensor."""
    pairs = zip(tree_flatten(first)[0], tree_flatten(second)[0], strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)


class Agreement(nn.Module):
    """A method that returns a table: what is trained, what a teacher says, and the images' own numbers.

    A quarter of the features is dropped, unless told otherwise.
    """

    def __init__(self, *, dropout=0.25, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Network(norm=norm)
        self.teacher = Network(norm=False).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.prototypes = nn.Parameter(torch.randn(8, 8))
        self.passes = []

    def embed(self, batch):
        first, second = batch.views
        found = {
            "student": self.dropout(self.backbone(first)),
            "targets": [self.teacher(second), batch.indices],
        }
        self.passes.append(found["student"].detach().clone())
        return found

    def loss(self, embeddings, batch):
        target, indices = embeddings["targets"]
        assert torch.equal(indices, batch.indices)
        logits = self.dropout(embeddings["student"] @ self.prototypes) @ target.T
        return nn.functional.cross_entropy(logits, torch.arange(len(batch))) + indices.double().mean() / 1000


def stepper_of(toy, method, *, micro_batch_size, views=None, **changes):
    parts = toy()
    settings = {**parts.settings, "micro_batch_size": micro_batch_size, **changes}
    pretraining = assemble(method.double(), parts.data, views or Shifts(), parts.optimizer, **settings)
    method.train()
    return pretraining.stepper, next(iter(pretraining.batches.stream(0, 1)))


def gradients_of(toy, method, *, micro_batch_size, step=0, **changes):
    """Return loss and gradients of one step."""
    stepper, raw = stepper_of(toy, method, micro_batch_size=micro_batch_size, **changes)
    found = {}
    method.after_backward = lambda _: found.update((n, p.grad.clone()) for n, p in method.named_parameters()
                                                   if p.grad is not None)  # fmt: skip
    _, metrics = stepper.step(raw, Progress(step, 12, 4))
    return {"loss": metrics["loss"].double(), **found}


@pytest.mark.parametrize("norm", ["none", "head"])
@pytest.mark.parametrize("micro_batch_size", [16, 4, 1])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_weights_and_statistics_are_those_of_the_batch_at_once(objective, micro_batch_size, norm):
    assert (
        largest_difference(three_steps(objective, norm, micro_batch_size), three_steps(objective, norm, None)) < 1e-12
    )


def test_with_batch_norm_in_the_backbone_they_are_near_but_others(toy):
    at_once, cut = (gradients_of(toy, Agreement(dropout=0.0, norm=True), micro_batch_size=m) for m in (None, 8))
    assert 1e-6 < largest_difference(cut, at_once) < 1


def test_plain_accumulation_would_be_another_loss(toy):
    at_once = gradients_of(toy, Agreement(dropout=0.0), micro_batch_size=None)
    stepper, raw = stepper_of(toy, method := Agreement(dropout=0.0), micro_batch_size=None)
    for number in range(2):
        batch = stepper.make_batch(raw.part(slice(8 * number, 8 * number + 8)), Progress(0, 12, 4))
        (method.loss(method.embed(batch), batch) / 2).backward()
    accumulated = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert largest_difference(accumulated, {name: at_once[name] for name in accumulated}) > 0.01


def test_a_first_layers_running_statistics_move_once_and_as_for_the_batch_at_once(toy):
    moved = []
    for micro_batch_size in (None, 4):
        method = Agreement(dropout=0.0, norm=True)
        gradients_of(toy, method, micro_batch_size=micro_batch_size)
        moved.append([buffer for name, buffer in method.named_buffers() if name.startswith("backbone.layers.1.")])
    assert largest_difference(*moved) < 1e-12
    assert moved[1][2] == 1


def test_dropout_is_drawn_anew_for_each_micro_batch_and_the_same_in_both_passes(toy):
    method = Agreement()
    gradients_of(toy, method, micro_batch_size=4)
    first, second = method.passes[:4], method.passes[4:]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    masks = [part == 0 for part in first]
    assert not any(torch.equal(masks[0], mask) for mask in masks[1:])


def test_with_dropout_the_gradient_is_that_of_a_loop_with_the_same_masks(toy):
    cached = gradients_of(toy, Agreement(), micro_batch_size=4, step=3)
    stepper, raw = stepper_of(toy, method := Agreement(), micro_batch_size=4)
    parts = []
    for number in range(4):
        torch.manual_seed(step_seed(0, 3, 0, number))
        progress = Progress(3, 12, 4)
        parts.append(method.embed(stepper.make_batch(raw.part(slice(4 * number, 4 * number + 4)), progress)))
    whole = {
        "student": torch.cat([part["student"] for part in parts]),
        "targets": [torch.cat([part["targets"][place] for part in parts]) for place in (0, 1)],
    }
    torch.manual_seed(step_seed(0, 3, 0, LOSS))
    loss = method.loss(whole, stepper.make_batch(raw, progress))
    loss.backward()
    expected = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert largest_difference(cached, {"loss": loss.detach(), **expected}) < 1e-12


def test_what_a_method_keeps_of_a_teachers_output_holds_no_graph(toy):
    class Centred(Agreement):
        centre = 0.0

        def loss(self, embeddings, batch):
            target, indices = embeddings["targets"]
            self.centre = 0.9 * self.centre + 0.1 * target.mean(dim=0)
            return super().loss({**embeddings, "targets": [target - self.centre, indices]}, batch)

    stepper, raw = stepper_of(toy, method := Centred(), micro_batch_size=4)
    for step in range(3):
        stepper.step(raw, Progress(step, 12, 4))
    assert not method.centre.requires_grad


def test_a_table_with_numbers_and_a_teachers_output_may_be_embedded(toy):
    at_once, cut = (gradients_of(toy, Agreement(dropout=0.0), micro_batch_size=m) for m in (None, 4))
    assert cut.keys() == at_once.keys()
    assert not any("teacher" in name for name in cut)
    assert largest_difference(cut, at_once) < 1e-12


class LargestImages(TorchDispatchMode):
    """Notes the largest number of float images of 16 x 16 pixels that any one tensor holds."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(found)[0]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.shape[-2:] == (16, 16):
                self.largest = max(self.largest, tensor.numel() // (3 * 16 * 16))
        return found


@pytest.mark.parametrize(("micro_batch_size", "expected"), [(None, 2 * BATCH_SIZE), (4, 2 * 4)])
def test_no_more_views_than_a_micro_batchs_exist_at_once(toy, micro_batch_size, expected):
    method = JointEmbedding(Network(norm=False), None, OBJECTIVES["nt_xent"]())
    stepper, raw = stepper_of(toy, method, micro_batch_size=micro_batch_size)
    with LargestImages() as images:
        batch, _ = stepper.step(raw, Progress(0, 12, 4))
    assert images.largest == expected  # joined by the method
    assert [len(view) for view in batch.views] == [BATCH_SIZE] * 2  # made for whoever looks


def test_views_of_a_whole_batch_are_made_once_and_when_looked_at():
    made = []
    views = LazyViews(lambda: made.append(1) or [torch.ones(2), torch.zeros(2)], 2)
    assert (len(views), made) == (2, [])
    assert [float(view[0]) for view in views] == [1, 0]
    assert views[1][0] == 0
    assert [float(view[0]) for view in views[:1]] == [1]
    assert made == [1]


def test_callbacks_see_the_whole_batch(toy):
    class Looker:
        seen = None

        @hookimpl
        def sslkit_step_end(self, batch):
            self.seen = self.seen or [view.clone() for view in batch.views]

    found = []
    for micro_batch_size in (None, 8):
        parts, looker = toy(), Looker()
        settings = {**parts.settings, "epochs": 1, "micro_batch_size": micro_batch_size, "callbacks": [looker]}
        pretraining = assemble(parts.method, parts.data, parts.views, parts.optimizer, **settings)
        train(pretraining, callback_manager(pretraining.callbacks))
        found.append(looker.seen)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_method_that_cannot_be_cut_is_refused(toy):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Network(norm=False)

        def forward(self, batch):
            return self.backbone(batch.views[0]).mean()

    with pytest.raises(RunError, match="pretrain.micro_batch_size: Whole has no embed and loss.*leave the key out"):
        stepper_of(toy, Whole(), micro_batch_size=8)


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused(toy):
    with pytest.raises(RunError, match=r"micro_batch_size = 5 does not divide pretrain.batch_size = 16"):
        stepper_of(toy, Agreement(), micro_batch_size=5)


class Drifting(Agreement):
    """An embed that changes by a share of itself each time it is called."""

    def __init__(self, share):
        super().__init__(dropout=0.0)
        self.share = share

    def embed(self, batch):
        found = super().embed(batch)
        return found | {"student": found["student"] * (1 + self.share * len(self.passes))}


@pytest.mark.parametrize("share", [0.1, 1e-4])
def test_an_embed_that_does_not_repeat_itself_is_refused_in_the_first_step(toy, share):
    with pytest.raises(PluginError, match=r"Drifting.embed returns something else when it is called again \(relative"):
        gradients_of(toy, Drifting(share), micro_batch_size=8)


def test_numbers_that_change_from_pass_to_pass_are_refused_too(toy):
    class Renumbering(Agreement):
        def embed(self, batch):
            found = super().embed(batch)
            number = torch.full_like(batch.indices, len(self.passes))
            return found | {"number": number}

    with pytest.raises(PluginError, match="Renumbering.embed returns something else"):
        gradients_of(toy, Renumbering(dropout=0.0), micro_batch_size=8)


def test_the_second_pass_is_held_against_the_first_in_the_first_step_only(toy):
    stepper, raw = stepper_of(toy, method := Drifting(0.0), micro_batch_size=8)
    stepper.step(raw, Progress(0, 12, 4))
    method.share = 0.1
    stepper.step(raw, Progress(1, 12, 4))


def test_embeddings_that_are_not_finite_are_called_that(toy):
    method = Drifting(float("nan"))
    with pytest.raises(NonFiniteError, match="step 1: the loss is nan"):
        gradients_of(toy, method, micro_batch_size=8)


def test_a_loss_that_ignores_the_embeddings_is_refused(toy):
    class Ignoring(Agreement):
        def loss(self, embeddings, batch):
            return self.prototypes.square().sum()

    with pytest.raises(PluginError, match="Ignoring.loss does not depend on what embed returns"):
        gradients_of(toy, Ignoring(), micro_batch_size=8)


@pytest.mark.parametrize("norm", [False, True])
def test_the_first_step_says_what_is_exact(toy, caplog, norm):
    with caplog.at_level(logging.INFO, logger="sslkit"):
        stepper, raw = stepper_of(toy, Agreement(norm=norm), micro_batch_size=4)
        for step in range(2):
            stepper.step(raw, Progress(step, 12, 4))
    (line,) = [record.message for record in caplog.records if "cached gradients" in record.message]
    assert "4 micro-batches" in line
    assert "loss and gradient are those of the whole batch" in line
    assert ("BatchNorm takes its statistics over each micro-batch" in line) is norm


def test_bfloat16_is_near(toy):
    at_once, cut = (
        gradients_of(toy, Agreement(dropout=0.0).float(), micro_batch_size=m, precision="bf16") for m in (None, 4)
    )
    assert largest_difference(cut["loss"], at_once["loss"]) < 0.05


def test_the_batch_of_the_loss_is_whole(toy):
    class Looking(Agreement):
        def loss(self, embeddings, batch):
            assert isinstance(batch, Batch)
            assert len(batch) == len(batch.labels) == len(embeddings["student"]) == BATCH_SIZE
            assert batch.views[0].shape == (BATCH_SIZE, 3, 16, 16)
            return super().loss(embeddings, batch)

    gradients_of(toy, Looking(), micro_batch_size=4)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            lambda h: torch.cat(h),
            r"\[4, \.\.\.\], but one is a tensor \[8, 8\] of float64; return one for",
        ),
        (lambda h: [*h, h[0].mean()], r"but one is a tensor \[\] of float64"),
        (lambda h: [*h, None], "but one is a NoneType"),
    ],
)
def test_embeddings_without_a_row_for_each_image_are_refused(toy, made, said):
    class Stacked(JointEmbedding):
        def embed(self, batch):
            return made(super().embed(batch))

    method = Stacked(Network(norm=False), None, lambda z: z[0].square().mean()).double()
    with pytest.raises(PluginError, match=said):
        gradients_of(toy, method, micro_batch_size=4)
