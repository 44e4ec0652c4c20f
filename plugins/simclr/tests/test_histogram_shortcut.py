"""What histograms give away: against literal counts and a literal search, on images whose colours are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sslkit_simclr import histogram_shortcut
from sslkit_simclr.evaluations.histogram_shortcut import _groups, _histograms, intensities, retrieval
from sslkit_simclr.two_crops import TwoCrops
from torch import nn

from sslkit import Arrays, BadImageError, DataError, FrozenModel

SIZE = 16


class Unused(nn.Module):
    feature_dim = 1

    def forward(self, images):
        raise AssertionError("weights play no part")


def tinted(count, channels=3):
    """Images of nearly one colour each, all different."""
    random = np.random.default_rng(0)
    base = np.linspace(20, 230, count).round()[:, None, None, None] * np.ones((1, channels, SIZE, SIZE))
    return (base + random.uniform(0, 3, base.shape)).astype(np.uint8)


def made(train, **options):
    data = Arrays.of(train=train, test=tinted(2, train.shape[1]), layout="NCHW")
    return histogram_shortcut(image_size=SIZE, **options)(FrozenModel(Unused(), input_size=SIZE), data)


def literally_found(first, second):
    """Return how often the partner is nearest, by loops over crops, bins and candidates; a draw counts in part."""
    hits = []
    for number, row in enumerate(first.tolist()):
        common = [sum(min(a, b) for a, b in zip(row, other, strict=True)) for other in second.tolist()]
        best = [place for place, value in enumerate(common) if value > max(common) - 1e-9]
        hits.append(1 / len(best) if number in best else 0.0)
    return hits


def test_histograms_count_the_values_of_all_channels():
    images = torch.rand(5, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    images[0] = 1.0
    images[1] = 0.0
    levels = (images * 255).round().numpy()
    expected = [np.histogram(image, bins=64, range=(0, 256))[0] / image.size for image in levels]
    np.testing.assert_allclose(intensities(images), expected)


def test_partners_are_found_as_by_a_literal_search():
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(9, 5, generator=generator, dtype=torch.float64)
    second = first + 0.6 * torch.rand(9, 5, generator=generator, dtype=torch.float64)
    second[3] = second[4]  # a draw
    first[3] = second[3]
    first, second = first / first.sum(1, keepdim=True), second / second.sum(1, keepdim=True)
    found = retrieval(first, second)
    expected = literally_found(first, second)
    assert found.hits.tolist() == expected
    assert 0 < sum(expected) < 9
    assert 0.5 in expected
    pairs = torch.tensor([[float(torch.minimum(a, b).sum()) for b in second] for a in first])
    assert found.within == pytest.approx(float(pairs.diagonal().mean()), abs=1e-6)
    others = pairs[~torch.eye(9, dtype=torch.bool)]
    assert found.between == pytest.approx(float(others.mean()), abs=1e-6)


def test_colours_identify_images_until_they_are_distorted():
    state = torch.get_rng_state()
    outcome = made(tinted(64))
    metrics = outcome.metrics
    assert outcome.headline == "retrieval_top1"
    assert metrics["retrieval_top1_without_colour"] > 0.9
    assert metrics["retrieval_top1"] < 0.3
    assert metrics["chance"] == 1 / 64
    assert metrics["n"] == 64
    assert outcome.split == "train"
    assert metrics["overlap_within_without_colour"] > metrics["overlap_between_without_colour"] + 0.5
    assert outcome.predictions["hits"].mean() == metrics["retrieval_top1"]
    assert torch.equal(torch.get_rng_state(), state)
    assert made(tinted(64)).metrics == metrics


def test_without_distortion_both_numbers_are_of_the_same_crops():
    metrics = made(tinted(40), colour_strength=0.0, grayscale_probability=0.0).metrics
    for name in ("retrieval_top1", "overlap_within", "overlap_between"):
        assert metrics[name] == metrics[f"{name}_without_colour"]
    weak = made(tinted(40), colour_strength=0.02, jitter_probability=1.0, grayscale_probability=0.0).metrics
    assert metrics["retrieval_top1"] >= weak["retrieval_top1"] > made(tinted(40)).metrics["retrieval_top1"]


def test_groups_are_spread_over_the_split():
    groups = _groups(1000, 100, 450)
    assert [len(group) for group in groups] == [100] * 4
    assert len(set(np.concatenate(groups).tolist())) == 400
    assert all(group.max() - group.min() > 800 for group in groups)  # data in the order of classes
    assert (min(map(min, groups)), max(map(max, groups))) == (0, 999)
    (half,) = _groups(510, 256, 2048)
    assert (half[0], half[-1], len(half)) == (0, 509, 256)
    (alone,) = _groups(7, 100, 450)
    assert alone.tolist() == list(range(7))
    metrics = made(tinted(50), candidates=10, max_images=30).metrics
    assert (metrics["n"], metrics["chance"]) == (30, 0.1)


def test_crops_of_several_generators_are_the_same_and_bad_images_are_left_out():
    class Some:
        def __init__(self, images, broken=()):
            self.images, self.broken = images, broken

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            if index in self.broken:
                raise BadImageError(f"{index}.jpg", "is cut short")
            return torch.from_numpy(self.images[index]), -1

    off = {"image_size": SIZE, "blur_probability": 0.0, "jitter_probability": 0.0}
    generators = TwoCrops(grayscale_probability=0.0, **off), TwoCrops(grayscale_probability=1.0, **off)
    images = np.repeat(tinted(150)[:, :1], 3, axis=1)  # grey already
    one, other = _histograms(Some(images), np.arange(150), generators, seed=3)
    assert one.shape == (2, 150, 64)
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)
    fewer, _ = _histograms(Some(images, broken={0, 70}), np.arange(150), generators, seed=3)
    assert torch.equal(fewer, one[:, [number for number in range(150) if number not in (0, 70)]])
    with pytest.raises(DataError, match="not two of the images can be read"):
        _histograms(Some(images, broken=range(1, 150)), np.arange(150), generators, seed=3)


def test_what_cannot_be_measured_is_said_before_a_run():
    check = histogram_shortcut(image_size=SIZE).check
    check(None, "h", Arrays.of(train=tinted(2), test=tinted(1), layout="NCHW"))
    with pytest.raises(DataError, match="1 channels"):
        check(None, "h", Arrays.of(train=tinted(2, 1), test=tinted(1, 1), layout="NCHW"))
    with pytest.raises(DataError, match="has 1 image"):
        check(None, "h", Arrays.of(train=tinted(1), test=tinted(1), layout="NCHW"))
