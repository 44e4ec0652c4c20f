"""Both methods in two processes, for real: metrics, weights and queue are those of one."""

from __future__ import annotations

import pytest
import torch
from moco_samples import method_of, pretrained
from sslkit_moco import MoCoV2, MoCoV3
from torch.testing import assert_close

from sslkit.testing import on_ranks


@pytest.mark.parametrize(
    ("kind", "micro_batch_size", "options"),
    [
        (MoCoV2, None, {"key_groups": 4}),
        (MoCoV2, None, {"symmetric": True}),
        (MoCoV2, 8, {"symmetric": True}),
        (MoCoV3, None, {}),
        (MoCoV3, 8, {"predictor_last_norm": "none"}),
    ],
)
def test_two_ranks_equal_one_process(kind, micro_batch_size, options):
    metrics, state = in_float64(kind, micro_batch_size, options)
    (first_metrics, first), (_, second) = on_ranks(
        in_float64, kind, micro_batch_size, options
    )  # callbacks on the first
    for found, expected in zip(first_metrics, metrics, strict=True):
        for timing in ("images_per_second", "seconds"):
            found.pop(timing, None)
            expected.pop(timing, None)
        assert_close(found, expected, rtol=1e-6, atol=1e-9)
    assert_close(first, state, rtol=1e-8, atol=1e-10)
    assert all(torch.equal(first[name], second[name]) for name in state)  # a checkpoint keeps the first rank's


def in_float64(kind, micro_batch_size, options):
    """Return metrics of all steps of a pretraining, and all weights and buffers after them."""
    return pretrained(method_of(kind, **options).double(), micro_batch_size=micro_batch_size)
