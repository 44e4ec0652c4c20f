"""Colour, grayscale, blur and mirroring: against literal float64 oracles, and fused against kornia."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from sslkit_simclr.operations import blur, colour, kornia_backend
from sslkit_simclr.operations.colour import ORDERS, Jitter
from sslkit_simclr.operations.fused import OPERATIONS

SIZE = 6


def hostile_images():
    """Black, white, single colours, one bright pixel, nearly grey, two random: [N, 3, 6, 6]."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.zeros(3, SIZE, SIZE), torch.ones(3, SIZE, SIZE), torch.full((3, SIZE, SIZE), 0.5)]
    for single in ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.2, 0.9, 0.4), (1.0, 1.0, 0.0)):
        images.append(torch.tensor(single).view(3, 1, 1).expand(3, SIZE, SIZE).clone())
    bright = torch.zeros(3, SIZE, SIZE)
    bright[:, 2, 3] = 1
    nearly_grey = 0.5 + 1e-4 * torch.rand(3, SIZE, SIZE, generator=generator)
    few_levels = torch.randint(0, 3, (3, SIZE, SIZE), generator=generator) / 2
    return torch.stack([*images, bright, nearly_grey, few_levels, *torch.rand(2, 3, SIZE, SIZE, generator=generator)])


def every_case():
    """All hostile images in all 24 orders, with parameters drawn at full strength."""
    images = hostile_images().repeat_interleave(len(ORDERS), dim=0)
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(4, len(images), generator=generator) * 2 - 1
    order = torch.arange(len(ORDERS)).repeat(len(hostile_images()))
    return images, Jitter(order, 0.8 * uniform[0], 1 + 0.8 * uniform[1], 1 + 0.8 * uniform[2], 0.2 * uniform[3])


def literal_jitter(image, order, brightness, contrast, saturation, hue):
    """The four operations one after the other, pixel by pixel, in float64."""
    image = image.astype(np.float64)
    for name in order:
        if name == "brightness":
            image = image + brightness
        elif name == "contrast":
            mean = image.mean(axis=(1, 2), keepdims=True)
            image = (image - mean) * contrast + mean
        else:
            for y in range(SIZE):
                for x in range(SIZE):
                    h, s, v = colorsys.rgb_to_hsv(*image[:, y, x])
                    if name == "saturation":
                        s = min(s * saturation, 1.0)
                    else:
                        h = (h + hue) % 1.0
                    image[:, y, x] = colorsys.hsv_to_rgb(h, s, v)
        image = image.clip(0, 1)
    return image


def test_jitter_equals_the_operations_in_their_order():
    images, parameters = every_case()
    ours = colour.jitter(images.clone(), parameters)
    for number in range(0, len(images), 5):  # 5 and 24 have no common factor: all orders come up
        order, *values = (float(value[number]) for value in parameters)
        expected = literal_jitter(images[number].numpy(), ORDERS[int(order)], *values)
        np.testing.assert_allclose(ours[number].numpy(), expected, rtol=0, atol=3e-6)


def test_jitter_equals_kornia():
    images, parameters = every_case()
    ours = colour.jitter(images.clone(), parameters)
    theirs = kornia_backend.jitter(images.clone(), parameters)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert (ours - images).abs().max() > 0.5


def test_jitter_with_neutral_parameters_changes_nothing():
    images, parameters = every_case()
    zero, one = torch.zeros(len(images)), torch.ones(len(images))
    neutral = Jitter(parameters.order, zero, one, one, zero)
    torch.testing.assert_close(colour.jitter(images.clone(), neutral), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turns", [-0.3, -0.2, -1 / 6, 0.0, 0.1, 1 / 6, 0.3])
def test_hue_and_saturation_on_a_grid_of_colours(turns):
    levels = torch.linspace(0, 1, 9)
    pixels = torch.cartesian_prod(levels, levels, levels).T.unsqueeze(0).contiguous()
    for factor in (0.0, 0.3, 1.0, 1.8):
        ours = pixels.clone()
        colour._hue_saturation_(ours, torch.tensor([factor]), torch.tensor([turns]))
        for pixel, result in zip(pixels[0].T.tolist(), ours[0].T.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert result == pytest.approx(colorsys.hsv_to_rgb((h + turns) % 1, min(s * factor, 1), v), abs=2e-6)


def test_plan_of_the_24_orders():
    places = colour._places(torch.device("cpu"))
    assert places.shape == (24, 7)
    assert (places[:, :3].sum(1) == 1).all()
    assert (places[:, 3:6].sum(1) == 1).all()
    # 12 orders of the affine pair times the gaps: both in one gap counts twice, S before H and H before S.
    assert len(torch.unique(places, dim=0)) == 2 * 3 * 3


@pytest.mark.parametrize("operations", [OPERATIONS, kornia_backend.OPERATIONS], ids=["fused", "kornia"])
def test_grayscale_and_flip(operations):
    images = hostile_images()
    chosen = torch.arange(len(images)) % 2 == 0
    result = operations.grayscale(images.clone(), chosen)
    for image, grey, gray in zip(images, chosen.tolist(), result, strict=True):
        level = 0.2989 * image[0] + 0.5870 * image[1] + 0.1140 * image[2]
        expected = level.expand(3, -1, -1) if grey else image
        torch.testing.assert_close(gray, expected, rtol=0, atol=1e-6)
    mirrored = operations.flip(images.clone(), chosen)
    for image, mirror, flipped in zip(images, chosen.tolist(), mirrored, strict=True):
        assert torch.equal(flipped, torch.from_numpy(image.numpy()[..., ::-1].copy()) if mirror else image)


def literal_blur(image, sigma, radius):
    """Every output pixel as the weighted sum of its neighbours inside the image, in float64."""
    distance = np.arange(-radius, radius + 1)
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    padded = np.pad(image.astype(np.float64), ((0, 0), (radius, radius), (radius, radius)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(1, 2))
    return (windows * kernel).sum(axis=(-2, -1))


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_blur_equals_the_weighted_sum_and_kornia(radius):
    images = hostile_images()
    sigma = torch.linspace(0.1, 2.0, len(images))
    chosen = torch.arange(len(images)) % 4 != 1
    ours = blur.gaussian_blur(images, sigma, chosen, radius)
    for number, image in enumerate(images):
        expected = literal_blur(image.numpy(), float(sigma[number]), radius) if chosen[number] else image.numpy()
        np.testing.assert_allclose(ours[number].numpy(), expected, rtol=0, atol=1e-6)
    assert torch.equal(ours[~chosen], images[~chosen])
    half = blur.half_kernels(sigma, chosen, radius)
    torch.testing.assert_close(blur.blur_by_matrices(images, half), ours, rtol=0, atol=1e-6)
    theirs = kornia_backend.gaussian_blur(images, sigma, chosen, radius)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
