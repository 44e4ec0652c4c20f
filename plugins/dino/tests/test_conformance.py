from __future__ import annotations

import pytest

from sslkit.testing import plugin_checks

HEAD = {"hidden_dim": 16, "bottleneck_dim": 8, "out_dim": 12}
VIEWS = {
    "name": "simclr.multi_crop",
    "crop_on": "device",
    "groups": [{"num_views": 2, "image_size": 32}, {"num_views": 1, "image_size": 16}],
}
CHECKS = plugin_checks(
    "dino",
    options={"prototype_head": HEAD, "self_distillation": {"teacher_warmup_epochs": 0, "frozen_epochs": 0}},
    recipes={"self_distillation": {"pretrain": {"views": VIEWS, "head": {"name": "dino.prototype_head", **HEAD}}}},
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check()
