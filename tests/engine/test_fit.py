from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import Normalisation, PluginError, RunError, timm_backbone
from sslkit.engine.fit import MisfitError, require_fit


class Wrong(nn.Module):
    feature_dim = 5

    def forward(self, images):
        return images.mean(dim=(2, 3))


def test_a_transformer_can_be_made_for_another_size():
    backbone = timm_backbone(model="vit_tiny_patch16_224")
    with pytest.raises(MisfitError, match=r"3 x 96 x 96: .*; make it for that: .*timm_options.img_size = 96") as caught:
        require_fit(backbone, [(3, 96, 96)])
    assert caught.value.size == 96
    require_fit(timm_backbone(model="vit_tiny_patch16_224", timm_options={"img_size": 96}), [(3, 96, 96)])
    require_fit(backbone, [(3, 224, 224)])


def test_nearest_sizes_on_both_sides():
    class Multiples(nn.Module):
        feature_dim = 3

        def forward(self, images):
            assert images.shape[-1] % 24 == 0, "multiples of 24"
            return images.mean(dim=(2, 3))

    with pytest.raises(MisfitError, match="multiples of 24.*; the nearest sizes it takes: 96 and 120 pixels"):
        require_fit(Multiples(), [(3, 100, 100)])


def test_a_broken_promise_is_told():
    with pytest.raises(PluginError, match=r"returned shape \[2, 3\].*feature_dim = 5"):
        require_fit(Wrong(), [(3, 8, 8)])
    with pytest.raises(PluginError, match="has no integer feature_dim"):
        require_fit(nn.Identity(), [(3, 8, 8)])


def test_other_channels_are_told():
    backbone = timm_backbone(model="test_resnet")
    with pytest.raises(MisfitError, match="4 x 32 x 32.*it takes 3 channels.*in_channels = 4") as caught:
        require_fit(backbone, [(4, 32, 32)])
    assert caught.value.size is None
    with pytest.raises(RunError, match="normalize has 3 channels, the views have 1"):
        require_fit(backbone, [(1, 32, 32)], Normalisation((0.5,) * 3, (0.5,) * 3))


def test_the_backbone_is_not_touched():
    backbone = timm_backbone(model="test_resnet")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    require_fit(backbone, [(3, 32, 32)])
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
