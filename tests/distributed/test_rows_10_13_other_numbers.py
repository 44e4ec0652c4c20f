"""Rows 10 and 13: a run goes on with another number of processes, on the same batches to the same weights."""

from __future__ import annotations

import pytest
import torch
from stopped import pretrained

from sslkit.testing import on_ranks

STEPS, PER_EPOCH = 15, 5


def joined(found):
    """Return each step's global batch, in the order of a single process, and its rate, the same on all ranks."""
    steps = {}
    for at_step in zip(*(seen for seen, *_ in found), strict=True):
        ((number, rate),) = {(number, rate) for number, _, rate in at_step}
        rows = [index for row in zip(*(indices for _, indices, _ in at_step), strict=True) for index in row]
        steps[number] = (rows, rate)
    return steps


@pytest.mark.parametrize("micro_batch_size", [None, 6])
def test_row_10_13_stopped_with_3_processes_it_goes_on_with_2_and_with_1(tmp_path, micro_batch_size):
    whole = pretrained(None, None, micro_batch_size)
    expected = joined([whole])
    assert list(expected) == list(range(STEPS))
    assert sorted(index for step in range(PER_EPOCH) for index in expected[step][0]) == list(range(60))
    steps, lengths = {}, []
    for size, stop_in in ((3, 1), (2, 6), (1, None)):
        found = on_ranks(pretrained, tmp_path, stop_in, micro_batch_size, size=size)
        lengths.append(len(joined(found)))
        steps |= joined(found)
    assert lengths == [3, 5, 7]  # both stops are within an epoch: ranks agree on a signal in the step after it
    assert steps == expected
    before, after = whole[1:]
    for name, tensor in found[0][2].items():
        # Weights to 1e-5; running variances sum squares, and features here are far larger than weights.
        assert torch.allclose(tensor, after[name], rtol=1e-6, atol=1e-4 if "running" in name else 1e-5), name
    assert all((after[name] - before[name]).abs().max() > 1e-3 for name in after if name.endswith("weight"))
