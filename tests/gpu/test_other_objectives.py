"""The objectives that NT-Xent is compared with: on a CUDA device what they are on the CPU, and nobody waits."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from sslkit_simclr import MarginTriplet, NTLogistic

from sslkit import Progress

pytestmark = pytest.mark.gpu

PROGRESS = Progress(9, 100, 50)
OBJECTIVES = {
    f"{kind.__name__}, {negatives}, {mining}": partial(kind, negatives=negatives, mining=mining)
    for kind in (NTLogistic, MarginTriplet)
    for negatives in ("all", "other_views")
    for mining in ("all", "semi_hard")
}


def random_views(count, dtype):
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(count, 64, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, count, 64, generator=generator, dtype=torch.float64)
    return [(anchors + part).to(dtype) for part in noise]


def loss_and_gradient(objective, views):
    views = [view.clone().requires_grad_() for view in views]
    loss, metrics = objective(views, progress=PROGRESS)
    return loss.detach(), torch.cat(torch.autograd.grad(loss, views)), metrics


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_gradient_and_metrics_are_those_of_the_cpu(name):
    objective = OBJECTIVES[name]()
    views = random_views(300, torch.float32)
    wanted = loss_and_gradient(objective, views)
    found = loss_and_gradient(objective, [view.cuda() for view in views])
    assert float(found[0]) == pytest.approx(float(wanted[0]), rel=1e-4, abs=1e-6)
    # Semi-hard: one in a thousand may pick another of two that are equally near.
    assert (found[1].cpu() - wanted[1]).norm() < (5e-2 if "semi_hard" in name else 1e-3) * wanted[1].norm()
    for key, value in wanted[2].items():
        assert float(found[2][key]) == pytest.approx(float(value), rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nobody_waits(name):
    objective = OBJECTIVES[name]()
    views = [view.cuda() for view in random_views(300, torch.float32)]
    loss_and_gradient(objective, views)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss_and_gradient(objective, views)
    finally:
        torch.cuda.set_sync_debug_mode("default")
