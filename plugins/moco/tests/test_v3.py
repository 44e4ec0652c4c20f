"""MoCo v3: its loss against loops, its momentum against the authors' formula, its frozen patch embedding."""

from __future__ import annotations

import math

import pytest
import torch
from moco_samples import Head, Network, batch_of, literal_v3, method_of, pretrained, random_rows
from sslkit_moco import MoCoV3, freeze_patch_embedding
from torch import nn

from sslkit import MLPHead, PluginError, RunError, timm_backbone


def plain(temperature=0.2, predictor=None):
    method = MoCoV3(nn.Identity(), Head(4), temperature=temperature, predictor_hidden_dim=6).double()
    method.predictor = predictor or nn.Identity()
    return method


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_value_and_gradient_equal_the_loops(temperature):
    views = [(random_rows(5, 4, seed=n).requires_grad_(), random_rows(5, 4, seed=9 + n)) for n in range(2)]
    queries, keys = zip(*views, strict=True)
    expected = literal_v3(queries, keys, temperature)
    loss, metrics = plain(temperature).loss(views, batch_of(*queries))
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(loss, queries), torch.autograd.grad(expected, queries), rtol=1e-10, atol=1e-12
    )
    assert not any(value.requires_grad for value in metrics.values())


def test_the_loss_by_hand():
    rows = torch.eye(4).double()
    loss, metrics = plain(0.5).loss([(rows, rows), (rows, rows)], batch_of(rows, rows))
    assert loss.item() == pytest.approx(2 * 2 * 0.5 * math.log(1 + 3 * math.exp(-2)))
    assert metrics["contrastive_accuracy"].item() == 1
    loss, metrics = plain(0.5).loss([(rows, rows.roll(1, 0)), (rows, rows.roll(1, 0))], batch_of(rows, rows))
    assert metrics["contrastive_accuracy"].item() == 0


def test_queries_are_predicted_and_keys_are_not():
    torch.manual_seed(0)
    predictor = nn.Linear(4, 4).double()
    views = [(random_rows(5, 4, seed=n), random_rows(5, 4, seed=9 + n)) for n in range(2)]
    loss = plain(predictor=predictor).loss(views, batch_of(*views[0])).loss
    expected = literal_v3([predictor(query) for query, _ in views], [key for _, key in views], 0.2)
    torch.testing.assert_close(loss, expected)


def test_each_view_is_normalised_by_itself():
    method = method_of(MoCoV3)
    views = torch.rand(2, 8, 3, 16, 16)
    for view, (queries, keys) in zip(views, method.embed(batch_of(*views)), strict=True):
        torch.testing.assert_close(queries, method.backbone(view))
        torch.testing.assert_close(keys, method.backbone(view))
        assert queries.requires_grad
        assert not keys.requires_grad


def test_metrics_are_left_out_of_steps_that_are_not_measured():
    rows = random_rows(5, 4)
    assert plain().loss([(rows, rows), (rows, rows)], batch_of(rows, measured=False)).metrics == {}


def test_bfloat16_autocast_changes_no_bit():
    method = plain().float()

    def run(enabled):
        rows = random_rows(5, 4).float().requires_grad_()
        key = random_rows(5, 4, seed=1).float()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = method.loss([(rows, key), (rows, key)], batch_of(rows)).loss
        return loss.detach(), torch.autograd.grad(loss, rows)[0]

    assert all(map(torch.equal, run(False), run(True)))


@pytest.mark.parametrize("momentum", [0.99, 0.5])
def test_the_momentum_is_the_authors_of_the_step_that_follows(momentum):
    method = method_of(MoCoV3, momentum=momentum)
    for step in range(10):
        progress = batch_of(torch.rand(2, 3), step=step, total_steps=10).progress
        theirs = 1 - 0.5 * (1 + math.cos(math.pi * (step + 1) / 10)) * (1 - momentum)
        assert method.momentum_after(progress) == pytest.approx(theirs, rel=1e-12)
    assert method.momentum_after(progress) == 1
    constant = method_of(MoCoV3, momentum=momentum, final_momentum=momentum)
    assert constant.momentum_after(progress) == momentum


def test_the_key_network_follows_by_that_momentum():
    method = method_of(MoCoV3, momentum=0.5)
    old = [method.key_backbone.module.layers[0].weight.clone(), method.key_head.module[0].weight.clone()]
    with torch.no_grad():
        method.backbone.layers[0].weight += 1
        method.head[0].weight += 1
    method.after_step(batch_of(torch.rand(2, 3), step=4, total_steps=10).progress)
    share = 1 - 0.5 * (1 + math.cos(math.pi / 2)) * 0.5
    found = [method.key_backbone.module.layers[0].weight, method.key_head.module[0].weight]
    torch.testing.assert_close(found, [weight + (1 - share) for weight in old])


@pytest.mark.parametrize("norm", ["none", "head"])
def test_micro_batches_change_nothing_where_the_backbone_has_no_batch_norm(norm):
    whole = pretrained(method_of(MoCoV3, norm).double())
    parts = pretrained(method_of(MoCoV3, norm).double(), micro_batch_size=4)
    assert [step["loss"] for step in parts[0]] == pytest.approx([step["loss"] for step in whole[0]], rel=1e-9)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-9, atol=1e-10)


def vit():
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2}
    return timm_backbone(model="vit_tiny_patch16_224", timm_options=options)


def test_a_frozen_patch_embedding_is_random_and_stays():
    torch.manual_seed(0)
    backbone = vit()
    method = MoCoV3(backbone, MLPHead(24, out_dim=5), predictor_hidden_dim=6, freeze_patch_embedding=True)
    start = backbone.patch_embed.proj.weight.clone()
    bound = math.sqrt(6 / (3 * 4 * 4 + 24))
    assert 0.95 * bound < start.abs().max() <= bound
    assert torch.equal(backbone.patch_embed.proj.bias, torch.zeros(24))
    others = backbone.blocks[0].mlp.fc1.weight.clone()
    pretrained(method, steps=2)
    assert torch.equal(backbone.patch_embed.proj.weight, start)
    torch.testing.assert_close(method.key_backbone.module.patch_embed.proj.weight, start)
    assert not torch.equal(backbone.blocks[0].mlp.fc1.weight, others)


def test_a_backbone_without_patches_cannot_have_them_frozen():
    with pytest.raises(RunError, match="Network has no convolution patch_embed.proj; leave the option out"):
        freeze_patch_embedding(Network(norm=False))
    with pytest.raises(RunError, match="no convolution"):
        method_of(MoCoV3, freeze_patch_embedding=True)


def test_other_than_two_views_are_refused():
    with pytest.raises(RunError, match=r"moco.v3 compares 2 views .* makes 3 views; set num_views = 2"):
        method_of(MoCoV3).embed(batch_of(*torch.rand(3, 8, 3, 16, 16)))


@pytest.mark.parametrize("option", [{"momentum": 1.1}, {"final_momentum": -0.1}, {"temperature": 0.0}])
def test_wrong_options_are_refused(option):
    with pytest.raises(ValueError, match=f"moco.v3: {next(iter(option))} must be"):
        method_of(MoCoV3, **option)


def test_a_head_that_does_not_say_its_width_is_refused():
    with pytest.raises(PluginError, match="the head Identity has no integer out_dim"):
        MoCoV3(Network(norm=False), nn.Identity())
