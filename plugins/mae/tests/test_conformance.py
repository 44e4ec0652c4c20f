from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks

VIT = {"image_size": 32, "patch_size": 8, "dim": 16, "depth": 1, "num_heads": 2}
DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
CHECKS = plugin_checks(
    "mae",
    options={"vit": VIT, "masked_autoencoder": DECODER},
    recipes={"masked_autoencoder": {"pretrain": {"backbone": {"name": "mae.vit", **VIT}}}},
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check()
