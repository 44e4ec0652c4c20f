"""What needs a CUDA device, compared with the CPU, with torch or with itself: `python -m pytest -m gpu`."""

import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


@pytest.fixture(autouse=True)
def cuda():
    """Return the device; without one, the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device("cuda", 0)
