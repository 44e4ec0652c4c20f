"""What both methods do alike."""

from __future__ import annotations

import pytest
import torch
from moco_samples import random_rows
from sslkit_moco.two_views import directions


@pytest.mark.parametrize(
    ("given", "returned"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_directions_are_unit_vectors_in_full_precision(given, returned):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = directions(random_rows(50, 8).to(given))
    assert found.dtype == returned
    torch.testing.assert_close(found.norm(dim=1), torch.ones(50, dtype=returned))
