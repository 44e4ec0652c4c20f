"""Rows 10 and 13: a run goes on with another number of processes, on the same batches to the same weights."""

from __future__ import annotations

import pytest
import torch
from stopped import pretrained

STEPS, PER_EPOCH = 15, 5


def joined(found):
    """Return each step's global batch, in the order of a single process, and its rate, the same on all ranks."""
    steps = {}
    for at_step in zip(*(seen for seen, _ in found), strict=True):
        ((number, rate),) = {(number, rate) for number, _, rate in at_step}
        rows = [index for row in zip(*(indices for _, indices, _ in at_step), strict=True) for index in row]
        steps[number] = (rows, rate)
    return steps


@pytest.mark.parametrize("micro_batch_size", [None, 6])
def test_row_10_13_stopped_with_3_processes_it_goes_on_with_2_and_with_1(ranks, tmp_path, micro_batch_size):
    whole = joined([(seen := pretrained(None, None, micro_batch_size))])
    assert list(whole) == list(range(STEPS))
    assert sorted(index for step in range(PER_EPOCH) for index in whole[step][0]) == list(range(60))
    steps, lengths = {}, []
    for size, stop_in in ((3, 2), (2, 8), (1, None)):
        found = ranks(size, pretrained, tmp_path, stop_in, micro_batch_size)
        part = joined(found)
        lengths.append(len(part))
        assert not steps.keys() & part.keys()
        steps |= part
    assert steps == whole
    # A signal is agreed upon by the end of the next step at the latest: all three stretches end within an epoch.
    assert all(sum(lengths[:place]) % PER_EPOCH for place in (1, 2)), lengths
    for name, expected in seen[1].items():
        assert torch.allclose(found[0][1][name], expected, rtol=0, atol=1e-5), name
