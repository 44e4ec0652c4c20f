from __future__ import annotations

import torch

from sslkit.engine.metrics import MetricRing


def test_records_leave_in_order_with_what_was_known():
    ring = MetricRing(torch.device("cpu"))
    for step in range(3):
        ring.push({"step": step}, {"loss": torch.tensor(float(step), requires_grad=True) * 2})
    assert list(ring.drain()) == [{"step": step, "loss": 2.0 * step} for step in range(3)]
    assert list(ring.drain(wait=True)) == []


def test_numbers_that_a_callback_has_added_leave_with_the_others():
    ring = MetricRing(torch.device("cpu"))
    ring.push({}, {"loss": torch.tensor(0.5), "mine": 2, "its": 0.25})
    assert list(ring.drain()) == [{"loss": 0.5, "mine": 2.0, "its": 0.25}]
