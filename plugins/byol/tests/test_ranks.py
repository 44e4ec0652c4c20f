"""Both methods in two processes, for real: the same losses, metrics, weights and target as in one."""

from __future__ import annotations

from prediction_samples import check_ranks
from torch import multiprocessing


def test_two_ranks_equal_one_process(tmp_path):
    multiprocessing.spawn(check_ranks, (str(tmp_path),), nprocs=2)
