from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import Batch, NonFiniteError, PluginError, Progress, pretrain
from sslkit.engine.assemble import assemble, parameter_groups
from sslkit.engine.batches import Batches
from sslkit.engine.checkpoint import choose_checkpoint, read_checkpoint


def assembled(toy, **changes):
    return assemble(toy.method, toy.data, toy.views, toy.optimizer, **{**toy.settings, **changes})


def one_step(pretraining, step=0):
    stepper = pretraining.stepper
    stepper.method.train()
    raw = next(iter(Batches(pretraining.source, stepper.views, pretraining.order, device=stepper.device).stream(0, 1)))
    return stepper.step(raw, Progress(step, 12, 4))


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_step_moves_every_parameter_and_reports(toy):
    pretraining = assembled(toy())
    before = weights(pretraining.method)
    batch, metrics = one_step(pretraining)
    assert [view.shape for view in batch.views] == [(16, 3, 16, 16)] * 2
    assert set(metrics) == {"loss", "gradient_norm", "weight_norm", "agreement"}
    moved = {name for name, value in weights(pretraining.method).items() if not torch.equal(value, before[name])}
    assert {name for name, _ in pretraining.method.named_parameters()} <= moved


def test_gradient_norm_is_that_of_all_gradients(toy):
    pretraining = assembled(toy())
    norms = []
    stepper = pretraining.stepper
    stepper.method.after_backward = lambda progress: norms.append(
        torch.cat([parameter.grad.flatten() for parameter in stepper.parameters]).norm()
    )
    _, metrics = one_step(pretraining)
    assert torch.allclose(metrics["gradient_norm"], norms[0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_non_finite_number_never_reaches_the_weights(toy, bad, what):
    pretraining = assembled(toy())
    method = pretraining.method
    if what == "loss":
        honest = method.loss
        method.loss = lambda embeddings, batch: honest(embeddings, batch)[0] * bad
    else:
        parameter = next(iter(method.head.parameters()))
        parameter.register_hook(lambda gradient: gradient * bad)
    before = {name: value.clone() for name, value in method.named_parameters()}
    with pytest.raises(NonFiniteError, match=r"step 6: the .* is (nan|inf)"):
        one_step(pretraining, step=5)
    assert all(torch.equal(value, before[name]) for name, value in method.named_parameters())


def test_parameters_without_a_gradient_are_named(toy):
    parts = toy()
    parts.method.head.unused = nn.Linear(2, 2)
    with pytest.raises(PluginError, match=r"2 parameters of JointEmbedding get no gradient: head.unused.weight"):
        one_step(assembled(parts))


def test_rates_are_base_times_schedule(toy):
    schedules = {"learning_rate": lambda progress: 0.5, "weight_decay": lambda progress: progress.fraction}
    pretraining = assembled(toy(), schedules=schedules, learning_rate=2.0, learning_rate_scaling="linear")
    one_step(pretraining, step=3)
    weights_group, plain_group = pretraining.stepper.optimizer.param_groups
    assert weights_group["lr"] == plain_group["lr"] == 2.0 * 16 / 256 * 0.5
    assert weights_group["weight_decay"] == pytest.approx(1e-4 * 3 / 12)
    assert plain_group["weight_decay"] == 0


def test_scales_shifts_and_biases_are_spared(toy):
    method = toy().method
    decayed, spared = parameter_groups(method, 1.0, 0.1)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {"backbone.conv.weight", "head.layer.weight"}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert (decayed["weight_decay"], decayed["adapt"]) == (0.1, True)
    assert (spared["weight_decay"], spared["adapt"]) == (0.0, False)
    method.backbone.no_weight_decay = lambda: {"conv.weight"}
    decayed, _ = parameter_groups(method, 1.0, 0.1)
    assert {names[id(p)] for p in decayed["params"]} == {"head.layer.weight"}


def test_what_a_module_names_keeps_its_learning_rate(toy):
    parts = toy()
    parts.method.head.constant_learning_rate = lambda: {"layer.weight", "layer.bias"}
    parts.method.head.no_weight_decay = lambda: {"layer.weight", "of a larger model"}
    pretraining = assembled(parts, schedules={"learning_rate": lambda progress: 0.25}, learning_rate=2.0)
    one_step(pretraining)
    groups = {group["name"]: group for group in pretraining.stepper.optimizer.param_groups}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "weights": 0.5, "norms and biases": 0.5, "norms and biases at a constant rate": 2.0
    }  # fmt: skip
    constant = groups["norms and biases at a constant rate"]["params"]
    assert {id(p) for p in constant} == {id(p) for p in parts.method.head.layer.parameters()}
    parts.method.head.constant_learning_rate = lambda: {"layer.wait"}
    with pytest.raises(PluginError, match=r"LinearHead\.constant_learning_rate\(\) names 'layer.wait'.*layer.weight"):
        parameter_groups(parts.method, 1.0, 0.1)


def test_what_trains_is_spared_by_name_although_something_else_is_kept(toy):
    method = toy().method
    method.student = method.backbone
    method.student.no_weight_decay = lambda: {"conv.weight"}
    method.backbone = torch.nn.Identity()
    decayed, _ = parameter_groups(method, 1.0, 0.1)
    assert not any(parameter is method.student.conv.weight for parameter in decayed["params"])


def test_dropout_is_a_function_of_the_step(toy):
    losses = []
    for _ in range(2):
        pretraining = assembled(toy(dropout=0.5))
        torch.rand(7)  # whatever else happened in the process
        losses.append(one_step(pretraining, step=4)[1]["loss"])
    assert torch.equal(*losses)
    assert one_step(assembled(toy(dropout=0.5)), step=5)[1]["loss"] != losses[0]


def test_a_batch_can_be_cut_by_samples():
    batch = Batch([torch.arange(4.0)[:, None]] * 2, torch.arange(4), torch.arange(4), Progress(0, 1, 1))
    part = batch[1:3]
    assert len(part) == 2
    assert [view.flatten().tolist() for view in part.views] == [[1, 2], [1, 2]]
    assert part.labels.tolist() == part.indices.tolist() == [1, 2]


def test_a_buffer_that_is_infinite_by_design_neither_stops_a_run_nor_its_checkpoint(toy, tmp_path):
    parts = toy()
    parts.method.backbone.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    pretrain(parts.method, parts.data, parts.views, parts.optimizer, checkpoints=tmp_path, **parts.settings)
    saved, _ = read_checkpoint(choose_checkpoint(tmp_path))
    assert saved["model"]["backbone.mask"].tolist() == [0, -torch.inf]


def test_a_method_with_forward_may_call_a_part_of_itself_embed(toy):
    class Whole(nn.Module):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone

        def embed(self, images):
            return self.backbone(images)

        def forward(self, batch):
            first, second = map(self.embed, batch.views)
            return (first - second).square().mean()

    parts = toy()
    parts.method = Whole(parts.method.backbone)
    assert one_step(assembled(parts))[1]["loss"] > 0
