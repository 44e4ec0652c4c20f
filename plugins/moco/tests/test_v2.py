"""MoCo v2: its loss against loops, its queue and its key network step by step."""

from __future__ import annotations

import math

import pytest
import torch
from moco_samples import QUEUE_SIZE, Head, Network, batch_of, literal_v2, method_of, pretrained, random_rows
from sslkit_moco import MoCoV2
from torch import nn
from torch.nn.functional import normalize

from sslkit import PluginError, RunError


def loss_of(pairs, queue, temperature, symmetric=False):
    method = MoCoV2(nn.Identity(), Head(4), queue_size=7, temperature=temperature, symmetric=symmetric).double()
    method.queue.keys = queue
    return method.loss(pairs, batch_of(pairs[0][0]))


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_value_and_gradient_equal_the_loops(ways, temperature):
    pairs = [(random_rows(5, 4, seed=way).requires_grad_(), random_rows(5, 4, seed=9 + way)) for way in range(ways)]
    queue = random_rows(7, 4, seed=20)
    expected = literal_v2(pairs, queue, temperature)
    queries = [query for query, _ in pairs]
    loss, metrics = loss_of(pairs, normalize(queue, dim=1), temperature, ways == 2)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(loss, queries)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, queries), rtol=1e-10, atol=1e-12)
    assert metrics["momentum"].item() == pytest.approx(0.999)
    assert not metrics["contrastive_accuracy"].requires_grad


def test_the_loss_by_hand():
    east, north = torch.tensor([[1.0, 0, 0, 0]]).double(), torch.tensor([[0, 1.0, 0, 0]]).double()
    loss, metrics = loss_of([(east, east)], north.expand(7, 4), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + 7 * math.exp(-2)))
    assert metrics["contrastive_accuracy"].item() == 1
    loss, metrics = loss_of([(east, north)], east.expand(7, 4), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + 7 * math.exp(2)))
    assert metrics["contrastive_accuracy"].item() == 0


def test_metrics_are_left_out_of_steps_that_are_not_measured():
    method = MoCoV2(nn.Identity(), Head(4), queue_size=7).double()
    rows = random_rows(5, 4)
    assert method.loss([(rows, rows)], batch_of(rows, measured=False)).metrics == {}


def test_bfloat16_autocast_changes_no_bit():
    method = MoCoV2(nn.Identity(), Head(4), queue_size=7)

    def run(enabled):
        rows = random_rows(5, 4).float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = method.loss([(rows, random_rows(5, 4, seed=1).float())], batch_of(rows)).loss
        return loss.detach(), torch.autograd.grad(loss, rows)[0]

    assert all(map(torch.equal, run(False), run(True)))


def test_keys_have_no_gradient_and_the_optimizer_never_sees_them():
    method = method_of(MoCoV2)
    images = torch.rand(8, 3, 16, 16)
    ((queries, keys),) = method.embed(batch_of(images, images))
    assert queries.requires_grad
    assert not keys.requires_grad
    assert {name.partition(".")[0] for name, p in method.named_parameters() if p.requires_grad} == {"backbone", "head"}


def test_queries_come_from_the_first_view_and_keys_from_the_second():
    method = method_of(MoCoV2, key_groups=1)
    views = torch.rand(2, 8, 3, 16, 16)
    ((queries, keys),) = method.embed(batch_of(*views))
    torch.testing.assert_close(queries, method.backbone(views[0]))
    torch.testing.assert_close(keys, method.backbone(views[1]))
    method = method_of(MoCoV2, key_groups=1, symmetric=True)
    (_, second), (_, first) = method.embed(batch_of(*views))
    torch.testing.assert_close(torch.stack([first, second]), torch.stack([method.backbone(view) for view in views]))


def test_the_key_network_is_the_moving_average():
    method = method_of(MoCoV2, momentum=0.75)
    for network, copy in ((method.backbone, method.key_backbone), (method.head, method.key_head)):
        expected = {name: value.clone() for name, value in copy.module.named_parameters()}
        for _ in range(3):
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter += torch.randn_like(parameter)
                    expected[name] = 0.75 * expected[name] + 0.25 * parameter
            method.after_step(batch_of(torch.rand(2, 3)).progress)
        torch.testing.assert_close(dict(copy.module.named_parameters()), expected)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_queue_has_the_latest_keys_but_not_those_of_the_step_itself(symmetric):
    method = method_of(MoCoV2, symmetric=symmetric, key_groups=1)
    old = list(method.queue.keys.clone())
    assert torch.stack(old).norm(dim=1).sub(1).abs().max() < 1e-6
    for step in range(4):
        views = torch.rand(2, 10, 3, 16, 16)
        batch = batch_of(*views, step=step, total_steps=4)
        before = method.queue.keys.clone()
        embeddings = method.embed(batch)
        method.loss(embeddings, batch)
        assert torch.equal(method.queue.keys, before)
        keys = [normalize(method.head(features), dim=1).detach() for _, features in embeddings]
        old += [rows[n] for n in range(10) for rows in keys]
        method.after_step(batch.progress)
    latest = torch.stack(old[-QUEUE_SIZE:])
    places = [int((method.queue.keys - key).norm(dim=1).argmin()) for key in latest]
    assert sorted(places) == list(range(QUEUE_SIZE))
    torch.testing.assert_close(method.queue.keys[places], latest, rtol=1e-4, atol=1e-5)


def consistency(momentum):
    """Return how alike the keys in the queue are to what the key network would now make of their images."""
    method = method_of(MoCoV2, norm="none", momentum=momentum, queue_size=48)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=1.0)
    torch.manual_seed(1)
    images = torch.rand(48, 3, 16, 16)
    for step in range(12):
        part = images[step % 3 * 16 :][:16]
        batch = batch_of(part, part, step=step, total_steps=12)
        optimizer.zero_grad()
        method(batch).loss.backward()
        optimizer.step()
        method.after_step(batch.progress)
    with torch.no_grad():
        now = normalize(method.key_head(method.key_backbone(images)), dim=1)
    return float((now * method.queue.keys).sum(dim=1).mean())


def test_without_momentum_the_keys_in_the_queue_are_of_different_networks():
    assert consistency(0.99) > 0.99
    assert consistency(0.0) < 0.95


@pytest.mark.parametrize("norm", ["none", "head"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_micro_batches_change_nothing_where_the_backbone_has_no_batch_norm(norm, symmetric):
    whole = pretrained(method_of(MoCoV2, norm, symmetric=symmetric).double())
    parts = pretrained(method_of(MoCoV2, norm, symmetric=symmetric).double(), micro_batch_size=4)
    assert [step["loss"] for step in parts[0]] == pytest.approx([step["loss"] for step in whole[0]], rel=1e-9)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-9, atol=1e-10)


def test_groups_that_do_not_divide_the_batch_are_refused():
    method = method_of(MoCoV2, key_groups=3)
    with pytest.raises(RunError, match=r"key_groups = 3 does not divide the 16 images .* pretrain.method.key_groups"):
        method.embed(batch_of(*torch.rand(2, 16, 3, 16, 16)))


@pytest.mark.parametrize(("count", "words"), [(1, "makes 1 view;"), (3, "makes 3 views; set num_views = 2")])
def test_other_than_two_views_are_refused(count, words):
    with pytest.raises(RunError, match=words):
        method_of(MoCoV2).embed(batch_of(*torch.rand(count, 16, 3, 16, 16)))


@pytest.mark.parametrize(
    "option", [{"queue_size": 0}, {"momentum": 1.1}, {"momentum": -0.1}, {"temperature": 0.0}, {"key_groups": 0},
               {"temperature": math.inf}, {"momentum": math.nan}],
)  # fmt: skip
def test_wrong_options_are_refused(option):
    with pytest.raises(ValueError, match=f"moco.v2: {next(iter(option))} must be"):
        method_of(MoCoV2, **option)


def test_a_head_that_does_not_say_its_width_is_refused():
    with pytest.raises(PluginError, match="the head Identity has no integer out_dim"):
        MoCoV2(Network(norm=False), nn.Identity())
