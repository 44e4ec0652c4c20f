"""BYOL's own: the target network and its momentum, and what becomes of it without a predictor."""

from __future__ import annotations

import math

import pytest
import torch
from prediction_samples import Records, batch_of, image_method, pretrained, random_vectors, trained, vector_method
from sslkit_byol import BYOL

from sslkit import Progress


def test_momentum_rises_from_the_base_to_one_by_half_a_cosine():
    method = vector_method(BYOL)
    found = [method.momentum_at(Progress(step, 1000, 10)) for step in (0, 250, 500, 1000)]
    quarter = 1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2
    assert found == pytest.approx([0.996, quarter, 0.998, 1.0], abs=1e-12)
    constant = vector_method(BYOL, momentum=0.9, final_momentum=0.9)
    assert [constant.momentum_at(Progress(step, 7, 1)) for step in (0, 3, 7)] == pytest.approx([0.9] * 3)


def test_the_target_follows_by_its_formula():
    method = vector_method(BYOL, momentum=0.7, predictor_hidden_dim=16).double()
    pairs = [(method.backbone, method.target_backbone.module), (method.head, method.target_head.module)]
    online = [p for module, _ in pairs for p in module.parameters()]
    target = [p for _, module in pairs for p in module.parameters()]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(online, target, strict=True))
    expected = [p.detach().clone() for p in target]
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.5)
    total = 5
    for step in range(total):
        batch = batch_of(random_vectors(seed=step), step, total)
        optimizer.zero_grad()
        loss, metrics = method(batch)
        loss.backward()
        optimizer.step()
        method.after_step(batch.progress)
        tau = 1 - (1 - 0.7) * (math.cos(math.pi * step / total) + 1) / 2
        assert metrics["target_momentum"].item() == pytest.approx(tau)
        expected = [tau * old + (1 - tau) * new.detach() for old, new in zip(expected, online, strict=True)]
        torch.testing.assert_close([p.detach() for p in target], expected, rtol=1e-12, atol=1e-12)
    assert not any(torch.equal(mine, theirs) for mine, theirs in zip(online, target, strict=True))


def test_the_target_is_neither_trained_nor_exported_but_saved():
    method = vector_method(BYOL, predictor_hidden_dim=16)
    names = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert names == {name for name, _ in method.named_parameters() if name.startswith("target_")}
    assert names <= set(method.state_dict())
    assert set(method.backbone.state_dict()) == {"0.weight", "0.bias"}


def test_the_target_keeps_statistics_of_its_own_features():
    records = Records()
    state = pretrained(image_method(BYOL), callbacks=[records])
    mine, theirs = (state[f"{name}.layers.1.running_mean"] for name in ("backbone", "target_backbone.module"))
    assert theirs.abs().max() > 1e-4
    assert not torch.allclose(mine, theirs)
    momenta = [record["target_momentum"] for record in records.values]
    assert momenta[0] == pytest.approx(0.8)
    assert momenta == sorted(momenta)


def test_with_a_predictor_projections_stay_spread_and_without_they_shrink_towards_one_point():
    options = {"momentum": 0.9, "final_momentum": 0.9}
    spread = trained(vector_method(BYOL, predictor_hidden_dim=32, **options))["spread"]
    without = trained(vector_method(BYOL, predictor_layers=0, **options))["spread"]
    assert spread > 0.8 / 8**0.5
    assert without < 0.3 * spread


@pytest.mark.parametrize("option", ["momentum", "final_momentum"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_momentum_out_of_range_is_refused(option, value):
    with pytest.raises(ValueError, match=f"BYOL: {option} must be between 0 and 1"):
        vector_method(BYOL, **{option: value})
