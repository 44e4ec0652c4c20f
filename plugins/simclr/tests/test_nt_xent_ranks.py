"""NT-Xent in several processes, for real: the same loss, gradients and metrics as in one; backward talks to nobody."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.distributed as dist
from nt_xent_samples import OPTIONS, random_views, some_labels, weighted
from torch.testing import assert_close

from sslkit import rank, sum_over_ranks, world_size
from sslkit.testing import on_ranks

COLLECTIVE = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"

CASES = [
    *((2, 8, options | {"temperature": 0.1}) for options in OPTIONS),
    *((3, 8, options) for options in (OPTIONS[0], OPTIONS[-1])),
    (2, 8, {"temperature": 0.001}),
    *((2, 4, options) for options in OPTIONS),  # one image on each of four ranks
]
"""Views, images of the whole batch, and options."""


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(("num_views", "num_images", "options"), CASES)
def test_ranks_equal_one_process(num_views, num_images, options, size):
    alone, _ = of_own_rows(num_views, num_images, options)
    found, gathers = zip(*on_ranks(of_own_rows, num_views, num_images, options, size=size), strict=True)
    for ours in found:
        assert_close(ours, alone, rtol=1e-12, atol=1e-12)
    assert len({float(loss) for loss, *_ in found}) == 1
    assert set(gathers) == {3 if "positives" in options else 2}


def of_own_rows(num_views, num_images, options):
    """Return the loss, the means over ranks of a weight's gradient and of the metrics, and the number of gathers."""
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = slice(rank(), None, world_size())
    views = [view[own] for view in random_views(num_views, num_images)]
    with mock.patch.object(dist, COLLECTIVE, wraps=getattr(dist, COLLECTIVE)) as gather:
        loss, gradient, metrics = weighted(views, weight, some_labels(num_images)[own], options)
    means = {name: sum_over_ranks(value) / world_size() for name, value in metrics.items()}
    return (loss, sum_over_ranks(gradient) / world_size(), means), gather.call_count
