"""Lets tests import `crop_samples`, which lies beside them, the test of faults other tests, and `planted_faults`."""

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

torch.set_num_threads(1)  # the tensors here are tiny: more threads would only wait for each other
