"""Where nothing may be rounded: whatever the run's precision is, and on devices without autocast."""

import pytest
import torch

from sslkit import full_precision


@pytest.fixture
def rows():
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


def test_a_product_inside_is_that_of_float32(rows):
    expected = rows @ rows
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal((rows @ rows).float(), expected)
        with full_precision(rows.device):
            assert torch.equal(rows @ rows, expected)


def test_other_switches_are_as_before_behind_it():
    switches = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [switch.fp32_precision for switch in switches]
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with full_precision(torch.device("cpu")):
            assert [switch.fp32_precision for switch in switches] == ["ieee", "ieee"]
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def test_where_there_is_no_autocast_there_is_nothing_to_leave(rows):
    with full_precision(torch.device("meta")):
        assert (rows.to("meta") @ rows.to("meta")).shape == (64, 64)
