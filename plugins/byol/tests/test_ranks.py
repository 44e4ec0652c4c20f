"""Both methods in two processes, for real: the same losses, metrics, weights and target as in one."""

from __future__ import annotations

import pytest
from prediction_samples import KINDS, recorded
from torch.testing import assert_close

from sslkit.testing import on_ranks


@pytest.mark.parametrize("micro_batch_size", [None, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_equal_one_process(kind, micro_batch_size):
    state, records = recorded(kind, micro_batch_size)
    (first, first_records), (second, _) = on_ranks(recorded, kind, micro_batch_size)  # callbacks live on the first
    assert_close([first, second], [state, state], rtol=1e-9, atol=1e-9)
    assert_close(first_records, records, rtol=1e-9, atol=1e-9)
