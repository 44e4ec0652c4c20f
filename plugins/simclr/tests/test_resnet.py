"""The backbone: parameter counts of the paper's code, names of timm, and what is refused."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from sslkit_simclr import simclr_resnet
from torch import nn

from sslkit import DataError


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("options", "parameters", "feature_dim"),
    [
        ({"model": "resnet18"}, 11_180_736, 512),
        ({"model": "resnet18", "stem": "cifar"}, 11_173_056, 512),
        ({"model": "resnet18", "first_shortcut": "identity"}, 11_176_512, 512),
        ({}, 23_508_032, 2048),
        ({"stem": "cifar"}, 23_500_352, 2048),
        ({"width": 2}, 93_907_072, 4096),
        ({"width": 4}, 375_378_176, 8192),
    ],
)
def test_parameter_counts(options, parameters, feature_dim):
    with torch.device("meta"):
        backbone = simclr_resnet(**options)
    assert count(backbone) == parameters
    assert backbone.feature_dim == feature_dim


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"model": "resnet18", "stem": "cifar", "width": 2, "in_channels": 1}, 32),
        ({"model": "resnet26", "width": 2, "timm_options": {"cardinality": 1}}, 64),
        ({"model": "test_resnet", "stem": "cifar"}, 32),
        ({"model": "test_resnet", "stem": "no_pool"}, 32),
        ({"model": "resnet18d", "stem": "cifar"}, 32),
    ],
)
def test_features(options, size):
    backbone = simclr_resnet(**options)
    features = backbone(torch.randn(2, options.get("in_channels", 3), size, size))
    assert features.shape == (2, backbone.feature_dim)


def test_cifar_stem_keeps_the_resolution():
    backbone = simclr_resnet(model="resnet18", stem="cifar")
    images = torch.randn(2, 3, 32, 32)
    assert backbone.forward_features(images).shape == (2, 512, 4, 4)
    assert backbone.conv1.kernel_size == (3, 3)
    assert isinstance(backbone.maxpool, nn.Identity)
    assert [info["reduction"] for info in backbone.feature_info] == [1, 1, 2, 4, 8]


@pytest.mark.parametrize(
    "options",
    [
        {"model": "resnet18", "first_shortcut": "identity", "in_channels": 1},
        {"model": "resnet18d", "first_shortcut": "identity", "timm_options": {"output_stride": 16}},
    ],
)
def test_plain_timm_loads_the_weights_strictly_and_agrees(options):
    backbone = simclr_resnet(**options).eval()
    plain = timm.create_model(backbone.timm["model"], num_classes=0, **backbone.timm["options"]).eval()
    plain.load_state_dict(backbone.state_dict())
    images = torch.randn(2, options.get("in_channels", 3), 64, 64)
    assert torch.equal(plain(images), backbone(images))


def test_resnet50_is_plain_timm_and_the_others_say_that_they_are_not():
    with torch.device("meta"):
        backbone = simclr_resnet()
        assert backbone.timm == {"model": "resnet50", "options": {}}
        assert list(backbone.state_dict()) == list(timm.create_model("resnet50", num_classes=0).state_dict())
        for options in ({"stem": "cifar"}, {"width": 2}, {"model": "resnet18"}):
            assert simclr_resnet(**options).timm is None


def test_initialisation():
    torch.manual_seed(0)
    backbone = simclr_resnet(model="resnet18", stem="cifar")
    for block in (backbone.layer1[0], backbone.layer4[1]):
        assert block.bn2.weight.abs().sum() == 0
        scaled = block.conv2.weight * math.sqrt(block.conv2.weight[0].numel())
        assert scaled.std().item() == pytest.approx(1, abs=0.02)
        assert scaled.abs().max().item() == pytest.approx(2 / 0.87962566, abs=0.01)  # truncated at two deviations
    theirs = simclr_resnet(model="resnet18", initialisation="timm", zero_init_last=False)
    assert theirs.layer1[0].bn2.weight.min() == 1
    weight = theirs.layer2[0].conv1.weight  # variance 2 / fan-out
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.02)
    torch.manual_seed(0)
    again = simclr_resnet(model="resnet18", stem="cifar")
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), again.parameters(), strict=True))


def test_batch_norm_is_the_papers():
    norms = [m for m in simclr_resnet(model="resnet18").modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-5)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnet5"}, r'"resnet5" is not in timm.*did you mean "resnet50"'),
        ({"model": "vit_tiny_patch16_224"}, "builtin.timm"),
        ({"timm_options": {"drop_path": 0.1}}, r'"drop_path"; did you mean "drop_path_rate"'),
        ({"timm_options": {"in_chans": 1}}, "set in_channels"),
        ({"timm_options": {"global_pool": ""}}, "sets it itself"),
        ({"timm_options": {"output_stride": 7}}, "cannot build resnet50"),
        ({"model": "resnet50d", "width": 2}, "cannot be widened"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, words):
    with torch.device("meta"), pytest.raises(DataError, match=words) as caught:
        simclr_resnet(**options)
    assert "\n" not in str(caught.value)


def test_without_the_pool_maps_are_twice_as_large_and_parameters_the_same():
    with torch.device("meta"):
        pooled, plain = (simclr_resnet(model="resnet18", stem=stem) for stem in ("imagenet", "no_pool"))
        images = torch.empty(1, 3, 64, 64)
        sizes = [network.forward_features(images).shape[-1] for network in (pooled, plain)]
    assert sizes == [2, 4]
    assert count(pooled) == count(plain)
    assert plain.timm is None
