"""A pretraining that is interrupted ends as one that is not, bit for bit; the queue belongs to what is saved."""

from __future__ import annotations

import pytest
import torch
from moco_samples import Watch, method_of, pretrained
from sslkit_moco import MoCoV2, MoCoV3


@pytest.mark.parametrize("kind", [MoCoV2, MoCoV3])
def test_interrupted_equals_uninterrupted(kind, tmp_path):
    _, expected = pretrained(method_of(kind))
    saved = {"checkpoints": tmp_path, "checkpoint_every_steps": 2}
    with pytest.raises(RuntimeError, match="power"):
        pretrained(method_of(kind), watch=Watch(break_after=4), **saved)
    method = method_of(kind)
    with torch.no_grad():
        for value in method.state_dict().values():
            value.zero_()  # all of it has to come from the checkpoint
    metrics, state = pretrained(method, **saved)
    assert 0 < len(metrics) < 5
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
    assert ("queue.keys" in state) == (kind is MoCoV2)
