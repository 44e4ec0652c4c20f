"""Both objectives in two processes, for real: the same loss, gradients and metrics as in one."""

from __future__ import annotations

import pytest
import torch
from contrast_samples import CASES, random_views, some_labels, weighted
from sslkit_supcon import DCL
from torch.testing import assert_close

from sslkit import rank, sum_over_ranks, world_size
from sslkit.testing import on_ranks


@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_two_ranks_equal_one_process(kind, options, num_views):
    alone = of_own_rows(kind, options, num_views)
    for ours in on_ranks(of_own_rows, kind, options, num_views):
        assert_close(ours, alone, rtol=1e-11, atol=1e-11)


def test_one_image_on_each_rank_is_a_batch_of_two():
    loss, _ = DCL()(random_views(2, 2))
    assert_close(on_ranks(loss_of_one_image), [loss] * 2)


def of_own_rows(kind, options, num_views):
    """Return the loss, and the means over ranks of a weight's gradient and of the metrics."""
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = slice(rank(), None, world_size())
    views = [view[own] for view in random_views(num_views, 8)]
    loss, gradient, metrics = weighted(kind(**options), views, some_labels(8)[own], weight)
    return loss, *(sum_over_ranks(value) / world_size() for value in (gradient, *metrics.values()))


def loss_of_one_image():
    return DCL()([view[rank() : rank() + 1] for view in random_views(2, 2)])[0]
