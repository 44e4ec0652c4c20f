"""The circular buffer against a list that drops its oldest rows."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from sslkit_moco import KeyQueue


@pytest.mark.parametrize("size", [1, 4, 7, 12])
@pytest.mark.parametrize("count", [1, 3, 4, 7, 12, 30])
def test_it_holds_the_latest_rows_wherever_it_wraps_around(size, count):
    queue = KeyQueue(size, 2)
    latest = deque(queue.keys.clone(), maxlen=size)  # the row that is replaced first stands first
    for step in range(9):
        rows = torch.randn(count, 2)
        queue.enqueue(rows, num_before=step * count)
        latest.extend(rows)
        oldest = (step + 1) * count % size
        assert torch.equal(queue.keys.roll(-oldest, 0), torch.stack(list(latest)))


def test_it_begins_with_directions_of_its_seed():
    torch.manual_seed(3)
    keys = KeyQueue(50, 8).keys
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(50))
    assert keys.mean(dim=0).norm() < 0.3
    torch.manual_seed(3)
    assert torch.equal(KeyQueue(50, 8).keys, keys)


def test_it_is_saved():
    assert list(KeyQueue(3, 2).state_dict()) == ["keys"]
