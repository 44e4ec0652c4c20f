"""The backbone: positions, tokens of some patches, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from sslkit_mae import ViT
from sslkit_mae.vit import grid_positions


@pytest.fixture
def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(image_size=12, patch_size=4, dim=8, depth=2, num_heads=2)


def test_positions_are_sines_and_cosines_of_rows_and_columns():
    positions = grid_positions(3, 8)
    for place in range(9):
        row, column = divmod(place, 3)
        expected = [
            turn(coordinate / 10_000 ** (band / 2))
            for coordinate in (row, column)
            for turn in (math.sin, math.cos)
            for band in range(2)
        ]
        assert sorted(positions[place].tolist()) == pytest.approx(sorted(expected), abs=1e-6)
    assert len({tuple(row.tolist()) for row in positions}) == 9


def test_all_patches_in_any_order_have_the_same_tokens(vit):
    images = torch.rand(2, 3, 12, 12)
    order = torch.stack([torch.randperm(9), torch.randperm(9)])
    whole, shuffled = vit.tokens(images), vit.tokens(images, order)
    torch.testing.assert_close(shuffled[:, 0], whole[:, 0])
    for image in range(2):
        torch.testing.assert_close(shuffled[image, 1:], whole[image, 1:][order[image]])


def test_patches_that_are_not_looked_at_have_no_part_in_it(vit):
    images = torch.rand(1, 3, 12, 12)
    seen = torch.tensor([[0, 4, 5]])
    before = vit.tokens(images, seen)
    images[:, :, :4, 4:] = 9.0  # patches 1 and 2
    assert torch.equal(vit.tokens(images, seen), before)
    images[:, :, 4:8, 4:8] = 9.0  # patch 4
    assert not torch.equal(vit.tokens(images, seen), before)


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_the_feature_is_the_mean_of_the_patches_or_the_class_token(pool):
    vit = ViT(image_size=12, patch_size=4, dim=8, depth=1, num_heads=2, pool=pool)
    images = torch.rand(3, 3, 12, 12)
    tokens = vit.tokens(images)
    torch.testing.assert_close(vit(images), tokens[:, 1:].mean(dim=1) if pool == "mean" else tokens[:, 0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_size": 30, "patch_size": 4}, "image_size = 30 must be a multiple of 4"),
        ({"dim": 10, "num_heads": 3}, "dim = 10 must be a multiple of 3"),
        ({"dim": 6, "num_heads": 2}, "dim = 6 must be a multiple of 4"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ViT(**options)
