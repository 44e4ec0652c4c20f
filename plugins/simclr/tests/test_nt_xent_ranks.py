"""NT-Xent in several processes, for real: the same loss, gradients and metrics as in one."""

from __future__ import annotations

from nt_xent_samples import OPTIONS, check_ranks
from torch import multiprocessing


def test_two_and_four_ranks_equal_one_process(tmp_path):
    cases = [(2, 8, options | {"temperature": 0.1}) for options in OPTIONS]
    cases += [(3, 8, {}), (3, 8, OPTIONS[-1]), (2, 8, {"temperature": 0.001})]
    cases += [(2, 4, options) for options in OPTIONS]  # one image on each of four ranks
    multiprocessing.spawn(check_ranks, (str(tmp_path), cases), nprocs=4)
