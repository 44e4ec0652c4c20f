"""AutoAugment: torchvision's, with its random choices taken from a view's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.operations.auto_augment import AutoAugment
from torchvision.transforms import AutoAugment as TorchvisionAutoAugment
from torchvision.transforms import AutoAugmentPolicy
from view_samples import NOTHING, keys, numbers, smooth_images

from sslkit import DataError, seeded

POLICIES = ["imagenet", "cifar10", "svhn"]


@pytest.mark.parametrize("policy", POLICIES)
def test_it_equals_torchvisions_under_the_same_seed(policy):
    ours, theirs = AutoAugment(policy), TorchvisionAutoAugment(AutoAugmentPolicy(policy))
    changed = 0
    for crop, row in zip(smooth_images(30, 24, 24), numbers(30, 2), strict=True):
        first, second = (int(number * 2**24) for number in row.tolist())
        with seeded(first * 2**24 + second):
            expected = theirs(crop)
        result = ours(crop, row)
        assert torch.equal(result, expected)
        assert result.dtype == torch.uint8
        changed += not torch.equal(result, crop)
    assert changed > 15


def test_a_view_depends_on_its_key_alone():
    views = TwoCrops(image_size=24, auto_augment="imagenet", **NOTHING)
    images, draws = smooth_images(8, 30, 40), views.draw(keys(8))
    first = [views.prepare(image, row)[0] for image, row in zip(images, draws, strict=True)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    backwards = [views.prepare(image, row)[0] for image, row in zip(images.flip(0), draws[::-1], strict=True)]
    assert torch.equal(torch.get_rng_state(), state)  # nor does it move anybody's random numbers
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, backwards[::-1], strict=True))
    assert any(not torch.equal(*pair) for pair in first)


def test_all_25_sub_policies_are_equally_likely(monkeypatch):
    augment, picked = AutoAugment("imagenet"), []
    get_params = TorchvisionAutoAugment.get_params

    def noted(count):
        parameters = get_params(count)
        picked.append(parameters[0])
        return parameters

    monkeypatch.setattr(augment._augment, "get_params", noted)
    monkeypatch.setattr(augment._augment, "policies", [(("Invert", 0.0, None),)] * 25)  # the choice alone is fast
    crop = torch.zeros(3, 2, 2, dtype=torch.uint8)
    for row in numbers(5000, 2):
        augment(crop, row)
    counts = np.bincount(picked, minlength=25)
    assert len(counts) == 25
    assert ((counts - 200) ** 2 / 200).sum() < 43  # chi-square of 24 degrees: once in 100 times


def test_other_channels_are_refused():
    for channels in (2, 4, 13):
        with pytest.raises(DataError, match=f'{channels} channels; set auto_augment = "none"'):
            AutoAugment("svhn")(torch.zeros(channels, 8, 8, dtype=torch.uint8), numbers(1, 2)[0])
    assert len(AutoAugment("svhn")(torch.zeros(1, 8, 8, dtype=torch.uint8), numbers(1, 2)[0])) == 1


def test_the_numbers_come_from_columns_of_their_own():
    images = smooth_images(6, 30, 40)
    plain, augmented = TwoCrops(image_size=24), TwoCrops(image_size=24, auto_augment="cifar10")
    draws = augmented.draw(keys(6))
    for image, row in zip(images, draws, strict=True):
        crops = plain.prepare(image, row)[0]
        expected = [augmented._auto_augment(crop, numbers[-2:]) for crop, numbers in zip(crops, row, strict=True)]
        assert torch.equal(augmented.prepare(image, row)[0], torch.stack(expected))
