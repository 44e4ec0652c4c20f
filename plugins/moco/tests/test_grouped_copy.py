"""Groups of a batch with BatchNorm statistics of their own."""

from __future__ import annotations

import pytest
import torch
from moco_samples import Network
from sslkit_moco import GroupedCopy

from sslkit import RunError


@pytest.mark.parametrize("num_groups", [1, 2, 8])
def test_each_group_is_normalised_by_itself_and_rows_keep_their_order(num_groups):
    torch.manual_seed(0)
    network = Network(norm=True)
    images = torch.rand(16, 3, 16, 16)
    found = GroupedCopy(network, num_groups)(images)
    size = 16 // num_groups
    expected = torch.cat([network(images[start : start + size]) for start in range(0, 16, size)])
    assert torch.equal(found, expected)
    assert torch.equal(found, network(images)) == (num_groups == 1)


def test_a_row_knows_of_no_other_group():
    torch.manual_seed(0)
    copy = GroupedCopy(Network(norm=True), 4)
    images = torch.rand(16, 3, 16, 16)
    before = copy(images)
    images[4:8] = torch.rand(4, 3, 16, 16)
    changed = (copy(images) != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [4, 5, 6, 7]


def test_without_batch_norm_there_are_no_groups():
    copy = GroupedCopy(Network(norm=False), 8)
    assert copy.num_groups == 1
    assert copy(torch.rand(5, 3, 16, 16)).shape == (5, 8)


def test_unequal_groups_are_refused():
    with pytest.raises(RunError, match="key_groups = 3 does not divide the 16 images"):
        GroupedCopy(Network(norm=True), 3)(torch.rand(16, 3, 16, 16))
