"""Backbones whose weights and running statistics are those of no fresh model."""

import pytest
import torch

from sslkit import FrozenModel, timm_backbone


@pytest.fixture
def make_pretrained():
    """Return a function (model or module, size, channels, normalisation, timm options) -> frozen weights."""

    def make(model="test_resnet", *, size=32, channels=3, normalisation=None, **options):
        torch.manual_seed(0)
        backbone = (
            timm_backbone(model=model, timm_options=options, in_channels=channels) if isinstance(model, str) else model
        )
        backbone(torch.rand(4, channels, size, size))
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        return FrozenModel(backbone, normalisation=normalisation, input_size=size)

    return make
