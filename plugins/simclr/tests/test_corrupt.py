"""Operations outside the default policy: literal laws, kornia image by image, and properties one can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kornia.enhance import equalize, solarize
from kornia.filters import motion_blur, sobel
from sslkit_simclr.operations import corrupt, geometry, noise
from view_samples import close, hostile_images, numbers, require_pixels

ALWAYS = torch.ones(12, dtype=torch.bool)
SOME = torch.arange(12) % 3 != 0


# Quarter turns and cutout


def test_rotation_is_numpys():
    images = hostile_images(8)
    quarters = torch.arange(12).float() % 4
    turned = geometry.QuarterTurns(1.0)(images, geometry.Turned(quarters))
    for image, quarter, result in zip(images, quarters.int().tolist(), turned, strict=True):
        np.testing.assert_array_equal(result.numpy(), np.rot90(image.numpy(), quarter, axes=(-2, -1)))


def test_numbers_become_quarter_turns():
    draws = torch.tensor([[0.0, 0.0], [0.49, 0.34], [0.0, 1 - 2.0**-24], [0.5, 0.9]])
    assert geometry.QuarterTurns(0.5).parameters(draws).quarters.tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(("size", "side"), [(10, 0.5), (9, 0.5), (32, 0.3), (8, 1.0), (7, 1 / 7)])
def test_cutout_paints_the_square_around_its_centre(size, side):
    images = torch.rand(40, 2, size, size, generator=torch.Generator().manual_seed(0))
    operation = geometry.Cutout(0.7, side)
    parameters = operation.parameters(torch.from_numpy(numbers(40, 3)))
    painted = operation(images.clone(), parameters)
    for number, image in enumerate(images):
        expected = image.clone()
        if parameters.chosen[number]:
            length = round(side * size)
            for y, x in np.ndindex(size, size):
                down = y - int(parameters.row[number] * size) + length // 2
                across = x - int(parameters.column[number] * size) + length // 2
                if 0 <= down < length and 0 <= across < length:
                    expected[:, y, x] = 0.5
        assert torch.equal(painted[number], expected)


def test_cutout_lies_anywhere_and_its_area_follows():
    size, side, count = 32, 0.5, 4000
    operation = geometry.Cutout(1.0, side)
    painted = operation(torch.zeros(count, 1, size, size), operation.parameters(torch.from_numpy(numbers(count, 3))))
    covered = (painted == 0.5).double()
    # Along an axis a square of 16 around a centre in 0 ... 31 keeps 8 to 16 of its rows, 14 on average.
    kept = [min(centre + 8, size) - max(centre - 8, 0) for centre in range(size)]
    assert covered.sum((1, 2, 3)).mean().item() == pytest.approx(np.mean(kept) ** 2, rel=0.01)
    assert covered.sum((1, 2, 3)).min() == min(kept) ** 2
    along = np.array([sum(c - 8 <= row < c + 8 for c in range(size)) for row in range(size)]) / size
    assert abs(covered.mean((0, 1)).numpy() - np.outer(along, along)).max() < 0.04


# Noise


def test_noise_is_normal():
    sample = noise.normal_numbers(torch.from_numpy(numbers(20, 1)[:, 0]), 30_000).double()
    values = sample.flatten()
    count = len(values)
    assert abs(values.mean()) < 4 / count**0.5
    assert values.std().item() == pytest.approx(1, abs=4 / (2 * count) ** 0.5)
    assert abs((values**3).mean()) < 4 * (15 / count) ** 0.5
    assert (values**4).mean().item() == pytest.approx(3, abs=4 * (96 / count) ** 0.5)
    grid = torch.linspace(-3, 3, 61, dtype=torch.float64)
    share = (values.view(-1, 1) < grid).double().mean(0)
    normal = torch.special.ndtr(grid)
    assert (share - normal).abs().max() < 1.63 / count**0.5  # Kolmogorov's bound, exceeded once in 100 times
    between = np.corrcoef(sample.numpy()) - np.eye(20)
    assert abs(between).max() < 5 / 30_000**0.5
    following = (sample[:, 1:] * sample[:, :-1]).mean(1)
    assert following.abs().max() < 5 / 30_000**0.5


def test_noise_is_finite_for_every_hash(monkeypatch):
    for bits in (0, 2**32 - 1):
        monkeypatch.setattr(noise, "_hash", lambda values, bits=bits: torch.full_like(values, bits))
        extreme = noise.normal_numbers(torch.zeros(1), 4)
        assert torch.isfinite(extreme).all()
        assert extreme.abs().min() > 5


def test_noise_has_its_deviation_and_is_the_same_for_any_split():
    operation = noise.Noise(1.0, 0.1)
    parameters = operation.parameters(torch.from_numpy(numbers(12, 2)))
    grey = torch.full((12, 3, 40, 40), 0.5)
    noisy = operation(grey, parameters)
    difference = noisy - grey
    assert difference.mean().item() == pytest.approx(0, abs=0.002)
    assert difference.std().item() == pytest.approx(0.1, abs=0.001)
    halves = [operation(grey[part], noise.Noised(*(v[part] for v in parameters))) for part in (slice(5), slice(5, 12))]
    assert torch.equal(torch.cat(halves), noisy)
    assert all(not torch.equal(noisy[one], noisy[0]) for one in range(1, 12))
    assert not torch.equal(noisy[0, 0], noisy[0, 1])  # nor do channels share it
    chosen = noise.Noised(SOME, parameters.origin)
    images = hostile_images(8)
    changed = operation(images, chosen)
    require_pixels(changed)
    assert torch.equal(changed[~SOME], images[~SOME])
    assert (changed[SOME] != images[SOME]).flatten(1).any(1).all()


# Sobel, solarize, equalize, motion blur


def literal_sobel(image):
    """The magnitude of both differences, pixel by pixel, in float64; the edge repeats outside."""
    padded = np.pad(image.double().numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    across = np.outer([1, 2, 1], [-1, 0, 1])
    down, along = ((windows * kernel).sum(axis=(-2, -1)) / 4 for kernel in (across.T, across))
    return torch.from_numpy(np.hypot(down, along).clip(0, 1)).float()


def test_sobel_equals_kornia_and_finds_the_step():
    images = hostile_images(9)
    ours = corrupt.Sobel(1.0)(images, corrupt.Chosen(SOME))
    for image, chosen, result in zip(images, SOME.tolist(), ours, strict=True):
        close(result, literal_sobel(image) if chosen else image)
        theirs = (sobel(image[None], normalized=False)[0] / 4).clamp(0, 1)
        close(result, theirs if chosen else image, 3e-4)  # kornia's own summand under the root is 1e-6
    step = torch.zeros(1, 1, 9, 9)
    step[..., 5:] = 1
    edges = torch.zeros(1, 1, 9, 9)
    edges[..., 4:6] = 1
    for picture, expected in ((step, edges), (1 - step, edges), (step.mT, edges.mT)):
        close(corrupt.Sobel(1.0)(picture, corrupt.Chosen(ALWAYS[:1])), expected)
    flat = corrupt.Sobel(1.0)(torch.full((1, 3, 9, 9), 0.7), corrupt.Chosen(ALWAYS[:1]))
    close(flat, torch.zeros_like(flat), 1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_solarize_inverts_from_the_threshold_on(threshold):
    images = hostile_images(8)
    images[0, 0, 0] = threshold
    ours = corrupt.Solarize(1.0, threshold)(images, corrupt.Chosen(SOME))
    everywhere = corrupt.Solarize(1.0, threshold)(images, corrupt.Chosen(ALWAYS))
    assert torch.equal(ours, torch.where(SOME.view(-1, 1, 1, 1), everywhere, images))
    assert torch.equal(everywhere, torch.where(images >= threshold, 1 - images, images))
    close(everywhere, torch.cat([solarize(image[None], threshold) for image in images]), 0)


def test_equalize_flattens_the_histogram_as_kornia_does():
    images = hostile_images(16)
    ours = corrupt.Equalize(1.0)(images, corrupt.Chosen(SOME))
    for image, chosen, result in zip(images, SOME.tolist(), ours, strict=True):
        close(result, equalize(image[None])[0] if chosen else image, 0)
    require_pixels(ours)
    dark = torch.rand(1, 1, 160, 160, generator=torch.Generator().manual_seed(0)) / 4
    flat = corrupt.Equalize(1.0)(dark, corrupt.Chosen(ALWAYS[:1]))
    counts = torch.histc(flat, 8, 0, 1) / flat.numel()
    assert torch.histc(dark, 8, 0, 1).max() / dark.numel() > 0.5
    assert (counts - 1 / 8).abs().max() < 0.03
    assert (flat.flatten()[dark.flatten().argsort()].diff() >= 0).all()  # brighter stays brighter


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_motion_blur_equals_kornia_image_by_image(radius):
    images = hostile_images(12)
    operation = corrupt.MotionBlur(0.7, radius)
    parameters = operation.parameters(torch.from_numpy(numbers(12, 2)))
    assert 0 < parameters.chosen.sum() < 12
    ours = operation(images, parameters)
    for image, chosen, angle, result in zip(images, parameters.chosen.tolist(), parameters.angle, ours, strict=True):
        theirs = motion_blur(image[None], 2 * radius + 1, float(angle), 0.0, border_type="constant")[0]
        close(result, theirs if chosen else image, 1e-6)
    close(ours, ours.clamp(0, 1), 1e-6)


def test_motion_blur_draws_a_line_along_its_angle():
    point = torch.zeros(2, 1, 11, 11)
    point[:, :, 5, 5] = 1
    across, down = corrupt.MotionBlur(1.0, 2)(point, corrupt.Moved(ALWAYS[:2], torch.tensor([0.0, 90.0])))
    line = torch.zeros(1, 11, 11)
    line[0, 5, 3:8] = 1 / 5
    close(across, line, 1e-6)
    close(down, line.mT, 1e-6)
    angles = corrupt.MotionBlur(1.0, 2).parameters(torch.tensor([[0.0, 0.0], [0.0, 0.5]])).angle
    assert angles.tolist() == [0, 90]
