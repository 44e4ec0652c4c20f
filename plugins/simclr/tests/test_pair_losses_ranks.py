"""Losses of pairs in two processes, for real: the same loss, gradients and metrics as in one."""

from __future__ import annotations

import pytest
import torch
from nt_xent_samples import random_views
from pair_samples import FEW, by_way_of_the_method
from torch.testing import assert_close

from sslkit import rank, sum_over_ranks, world_size
from sslkit.testing import on_ranks


@pytest.mark.parametrize(("kind", "options"), FEW)
def test_two_ranks_equal_one_process(kind, options):
    alone = of_own_rows(kind, options)
    for ours in on_ranks(of_own_rows, kind, options):
        assert_close(ours, alone, rtol=1e-12, atol=1e-12)


def of_own_rows(kind, options):
    """Return loss and metrics, which are the same on all ranks, and the mean over ranks of a weight's gradient."""
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    views = [view[rank() :: world_size()] for view in random_views(2, 8)]
    loss, gradient, metrics = by_way_of_the_method(views, weight, kind, options)
    return loss, metrics, sum_over_ranks(gradient) / world_size()
