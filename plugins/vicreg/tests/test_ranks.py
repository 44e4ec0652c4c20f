"""Both objectives in two processes, for real: the same loss, terms and gradients as in one."""

from __future__ import annotations

import pytest
import torch
from redundancy_samples import CASES, random_views, weighted
from torch.testing import assert_close

from sslkit import rank, sum_over_ranks, world_size
from sslkit.testing import on_ranks


@pytest.mark.parametrize("shape", [(2, 8, 6), (2, 8, 12), (3, 4, 6)])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_two_ranks_equal_one_process(kind, options, shape):
    alone = of_own_rows(kind, options, shape)
    for ours in on_ranks(of_own_rows, kind, options, shape):
        assert_close(ours, alone, rtol=1e-11, atol=1e-11)


def of_own_rows(kind, options, shape):
    """Return loss and terms, which are the same on all ranks, and the mean over ranks of a weight's gradient."""
    weight = torch.randn(shape[-1], 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    views = [view[rank() :: world_size()] for view in random_views(*shape)]
    loss, gradient, terms = weighted(kind(**options), views, weight)
    return loss, terms, sum_over_ranks(gradient) / world_size()
