"""Lets tests import `swav_samples`, which lies beside them."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

torch.set_num_threads(1)  # the tensors here are tiny: more threads would only wait for each other
