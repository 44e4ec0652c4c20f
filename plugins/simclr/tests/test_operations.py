"""The paper's colours, blur and mirroring against literal float64 oracles; fused against kornia in both semantics."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from sslkit_simclr.operations import blur, colour, colour_torchvision, distortion, fused, geometry, kornia_backend
from sslkit_simclr.operations.blur import Blurred
from sslkit_simclr.operations.distortion import Distorted
from view_samples import ORDERS, close, hostile_images, jittered_cases, neutral

SEMANTICS = ["paper", "torchvision"]
NAMES = ("brightness", "contrast", "saturation", "hue")


def literal_jitter(image, places, brightness, contrast, saturation, hue):
    """The four operations one after the other, pixel by pixel, in float64."""
    image = image.astype(np.float64)
    for number in sorted(range(4), key=places.__getitem__):
        name = NAMES[number]
        if name == "brightness":
            image = image + brightness
        elif name == "contrast":
            mean = image.mean(axis=(1, 2), keepdims=True)
            image = (image - mean) * contrast + mean
        else:
            for y, x in np.ndindex(image.shape[1:]):
                h, s, v = colorsys.rgb_to_hsv(*image[:, y, x])
                if name == "saturation":
                    s = min(s * saturation, 1.0)
                else:
                    h = (h + hue) % 1.0
                image[:, y, x] = colorsys.hsv_to_rgb(h, s, v)
        image = image.clip(0, 1)
    return image


def test_jitter_equals_the_operations_in_their_order():
    images, parameters = jittered_cases("paper")
    ours = distortion.distort(images.clone(), Distorted(parameters.jitter, None), "paper")
    for number in range(0, len(images), 5):  # 5 and 24 have no common factor: all orders come up
        places, *values = (value[number].tolist() for value in parameters.jitter)
        expected = literal_jitter(images[number].numpy(), places, *values)
        np.testing.assert_allclose(ours[number].numpy(), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_distortion_equals_kornia(semantics):
    images, parameters = jittered_cases(semantics)
    ours = distortion.distort(images.clone(), parameters, semantics)
    close(ours, kornia_backend.distort(images.clone(), parameters, semantics))
    close(ours, ours.clamp(0, 1), 1e-6)  # the views clip the last rounding
    assert (ours - images).abs().max() > 0.5


@pytest.mark.parametrize("backend", [fused, kornia_backend], ids=["fused", "kornia"])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_jitter_with_neutral_parameters_changes_nothing(semantics, backend):
    images, _ = jittered_cases(semantics)
    parameters = Distorted(neutral(len(images), semantics), torch.zeros(len(images), dtype=torch.bool))
    close(backend.PIXELS.distort(images.clone(), parameters, semantics), images, 1e-6)


@pytest.mark.parametrize("turns", [-0.3, -0.2, -1 / 6, 0.0, 0.1, 1 / 6, 0.3])
def test_hue_and_saturation_on_a_grid_of_colours(turns):
    levels = torch.linspace(0, 1, 9)
    pixels = torch.cartesian_prod(levels, levels, levels).T.unsqueeze(1).contiguous()
    for factor in (0.0, 0.3, 1.0, 1.8):
        planes = colour.hue_saturation(tuple(pixels.clone()), torch.tensor([factor]), torch.tensor([turns]))
        results = torch.cat(planes).T.tolist()
        for pixel, result in zip(pixels[:, 0].T.tolist(), results, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert result == pytest.approx(colorsys.hsv_to_rgb((h + turns) % 1, min(s * factor, 1), v), abs=2e-6)


def test_numbers_become_the_24_orders():
    places = distortion._places((torch.arange(24) + 0.5) / 24)
    assert sorted(places.tolist()) == ORDERS.tolist()
    ends = torch.tensor([0.0, 1 - 2.0**-24])  # the least and the greatest number that is drawn
    assert distortion._places(ends).sort(1).values.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("backend", [fused, kornia_backend], ids=["fused", "kornia"])
def test_grayscale_is_the_weighted_sum(backend):
    images = hostile_images()
    chosen = torch.arange(len(images)) % 2 == 0
    result = backend.PIXELS.distort(images.clone(), Distorted(None, chosen), "paper")
    for image, grey, changed in zip(images, chosen.tolist(), result, strict=True):
        level = 0.2989 * image[0] + 0.5870 * image[1] + 0.1140 * image[2]
        close(changed, level.expand(3, -1, -1) if grey else image, 1e-6)


@pytest.mark.parametrize("backend", [fused, kornia_backend], ids=["fused", "kornia"])
def test_flip_mirrors_the_chosen(backend):
    images = hostile_images()
    chosen = torch.arange(len(images)) % 2 == 1
    mirrored = backend.PIXELS.flip(images.clone(), chosen)
    for image, mirror, flipped in zip(images, chosen.tolist(), mirrored, strict=True):
        assert torch.equal(flipped, torch.from_numpy(image.numpy()[..., ::-1].copy()) if mirror else image)


def literal_blur(image, sigma, radius, border):
    """Every output pixel as the weighted sum of its neighbours, in float64."""
    distance = np.arange(-radius, radius + 1)
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    margins = ((0, 0), (radius, radius), (radius, radius))
    padded = np.pad(image.astype(np.float64), margins, mode="constant" if border == "black" else "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, axis=(1, 2))
    return (windows * kernel).sum(axis=(-2, -1))


@pytest.mark.parametrize("border", ["black", "mirror"])
@pytest.mark.parametrize("radius", [1, 2, 7])
def test_blur_equals_the_weighted_sum_and_kornia(radius, border):
    images = hostile_images(size=9)
    sigma = torch.linspace(0.1, 2.0, len(images))
    chosen = torch.arange(len(images)) % 4 != 1
    ours = blur.gaussian_blur(images, Blurred(chosen, sigma), radius, border)
    for number, image in enumerate(images):
        expected = literal_blur(image.numpy(), float(sigma[number]), radius, border) if chosen[number] else image
        np.testing.assert_allclose(ours[number].numpy(), expected, rtol=0, atol=1e-6)
    assert torch.equal(ours[~chosen], images[~chosen])
    close(blur.blur_by_matrices(images, blur.half_kernels(sigma, chosen, radius), border), ours, 1e-6)
    close(kornia_backend.gaussian_blur(images, Blurred(chosen, sigma), radius, border), ours)
    close(ours, ours.clamp(0, 1), 1e-6)


def partly_neutral(semantics):
    """Images of 184 pixels, each large enough to be a tile of its own; in some of them only a part is changed."""
    count, size = 7, 184
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(count, 3, size, size, generator=generator)
    images[0], images[1] = 0, 1
    _, cases = jittered_cases(semantics)
    picked = torch.arange(count) * 13
    jitter = [values[picked].clone() for values in cases.jitter]
    for values, still in zip(jitter[1:], neutral(count, semantics)[1:], strict=True):
        values[3:5] = still[3:5]  # not jittered
    jitter[3][5], jitter[4][5] = 1.0, 0.0  # neither saturation nor hue
    return images, Distorted(type(cases.jitter)(*jitter), torch.arange(count) % 3 == 1)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_large_images_skip_what_changes_nothing(semantics, monkeypatch):
    images, parameters = partly_neutral(semantics)
    border = "black" if semantics == "paper" else "mirror"
    blurred = Blurred(torch.arange(len(images)) % 2 == 0, torch.linspace(0.1, 2.0, len(images)))

    def one_by_one():
        for number in range(len(images)):
            part = slice(number, number + 1)
            jitter = type(parameters.jitter)(*(values[part] for values in parameters.jitter))
            image = distortion.distort(images[part].clone(), Distorted(jitter, parameters.gray[part]), semantics)
            yield blur.gaussian_blur(image, Blurred(*(values[part] for values in blurred)), 9, border)

    skipping = torch.cat(list(one_by_one()))
    for module in (colour, colour_torchvision, blur):
        monkeypatch.setattr(module, "alone", lambda images: False)
    computing = torch.cat(list(one_by_one()))
    close(skipping, computing, 2e-6)  # what is computed in vain is rounded three times
    assert torch.equal(skipping[3], images[3])  # neither jittered, grey nor blurred: not even rounded
    together = distortion.distort(images.clone(), parameters, semantics)
    close(blur.gaussian_blur(together, blurred, 9, border), computing, 2e-6)


def test_numbers_become_the_ranges_of_the_blur():
    operation = blur.Blur(0.5, (0.1, 2.0), 1, "black", blur.gaussian_blur)
    chosen, sigma = operation.parameters(torch.tensor([[0.0, 0.0], [0.499, 0.5], [0.5, 1 - 2.0**-24]]))
    assert chosen.tolist() == [True, True, False]
    close(sigma, torch.tensor([0.1, 1.05, 2.0]), 1e-6)


def test_flip_is_drawn_below_its_probability():
    assert geometry.Flip(0.3).parameters(torch.tensor([[0.0], [0.299], [0.3]])).chosen.tolist() == [True, True, False]
