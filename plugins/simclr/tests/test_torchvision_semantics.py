"""semantics = "torchvision" against torchvision's own functions, applied one by one in the order drawn."""

from __future__ import annotations

import pytest
import torch
from sslkit_simclr import TwoCrops
from sslkit_simclr.operations import blur, distortion, geometry
from sslkit_simclr.operations.blur import Blurred
from sslkit_simclr.operations.distortion import Distorted
from sslkit_simclr.policy import COLUMNS
from torchvision.transforms import ColorJitter, InterpolationMode
from torchvision.transforms.v2 import functional as tv
from view_samples import ORDERS, close, hostile_images, jittered_cases, keys, prepared, smooth_images

from sslkit import CropRule, crop_boxes

FUNCTIONS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def one_by_one(image, places, values):
    """torchvision's four functions on one image, in the order of their places."""
    for number in sorted(range(4), key=places.__getitem__):
        image = FUNCTIONS[number](image, values[number])
    return image


def row_of(jitter, number):
    places, *values = (value[number].tolist() for value in jitter)
    return places, values


def test_jitter_equals_torchvisions_in_all_24_orders():
    images, parameters = jittered_cases("torchvision")
    assert len(torch.unique(parameters.jitter.places, dim=0)) == 24
    ours = distortion.distort(images.clone(), Distorted(parameters.jitter, None), "torchvision")
    for number, image in enumerate(images):
        close(ours[number], one_by_one(image, *row_of(parameters.jitter, number)))


@pytest.mark.parametrize("number", range(4))
def test_each_operation_alone_equals_torchvisions(number):
    images, parameters = jittered_cases("torchvision")
    count = len(images)
    values = [torch.ones(count), torch.ones(count), torch.ones(count), torch.zeros(count)]
    values[number] = parameters.jitter[1 + number]
    jitter = type(parameters.jitter)(parameters.jitter.places, *values)
    ours = distortion.distort(images.clone(), Distorted(jitter, None), "torchvision")
    for place in range(0, count, 7):
        close(ours[place], FUNCTIONS[number](images[place], values[number][place].item()))


def test_grayscale_and_flip_equal_torchvisions():
    images = hostile_images()
    chosen = torch.ones(len(images), dtype=torch.bool)
    grey = distortion.distort(images.clone(), Distorted(None, chosen), "torchvision")
    close(grey, tv.rgb_to_grayscale(images, num_output_channels=3))
    assert torch.equal(geometry.flip(images, chosen), tv.horizontal_flip(images))


@pytest.mark.parametrize("radius", [1, 3, 7])
def test_blur_equals_torchvisions(radius):
    images = hostile_images(size=10)
    sigma = torch.linspace(0.1, 2.0, len(images))
    chosen = torch.ones(len(images), dtype=torch.bool)
    ours = blur.gaussian_blur(images, Blurred(chosen, sigma), radius, "mirror")
    for number, image in enumerate(images):
        close(ours[number], tv.gaussian_blur(image, [2 * radius + 1] * 2, [sigma[number].item()] * 2))


@pytest.mark.parametrize("size", [32, 184])
def test_whole_views_equal_torchvisions_functions(size):
    views = TwoCrops(image_size=size, semantics="torchvision", crop_on="device", num_views=1)
    images = smooth_images(12, 44, 60)
    (group,), draws = prepared(views, images, views.draw(keys(12)))
    (ours,) = views.apply([group], draws)
    numbers = draws[:, 0]
    boxes = crop_boxes(numbers, 44, 60, CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1, "torchvision"))
    flipped = numbers[:, COLUMNS["flip"]][:, 0] < 0.5
    distorted, blurred = views._policy.parameters(numbers)
    for number, image in enumerate(images):
        top, left, height, width = (int(edge[number]) for edge in boxes)
        view = tv.resized_crop(
            image.float() / 255, top, left, height, width, [size, size], InterpolationMode.BILINEAR, antialias=True
        )
        view = tv.horizontal_flip(view) if flipped[number] else view
        view = one_by_one(view, *row_of(distorted.jitter, number))
        view = tv.rgb_to_grayscale(view, num_output_channels=3) if distorted.gray[number] else view
        if blurred.chosen[number]:
            kernel = 2 * (size // 10 // 2) + 1
            view = tv.gaussian_blur(view, [kernel] * 2, [blurred.sigma[number].item()] * 2)
        close(ours[number], view)


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5])
def test_ranges_are_those_of_torchvisions_jitter(strength):
    theirs = ColorJitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    operation = distortion.ColourDistortion(1.0, 0.0, strength, "torchvision", distortion.distort)
    ends = torch.tensor([[0.0] * 7, [1 - 2.0**-24] * 7])
    jitter = operation.parameters(ends).jitter
    for name in ("brightness", "contrast", "saturation", "hue"):
        close(getattr(jitter, name), torch.tensor(getattr(theirs, name)), 1e-6)
    assert operation.parameters(ends).gray is None


def test_the_two_semantics_differ_where_they_should():
    images, parameters = jittered_cases("torchvision")
    pixels = images[-24:]  # one random image in every order
    still = {"brightness": torch.ones(24), "contrast": torch.ones(24), "saturation": torch.ones(24)}
    for name in ("contrast", "saturation"):
        values = still | {name: torch.full((24,), 1.5)}
        one = type(parameters.jitter)(ORDERS, values["brightness"], *list(values.values())[1:], torch.zeros(24))
        other = one._replace(brightness=torch.zeros(24))
        torchvisions = distortion.distort(pixels.clone(), Distorted(one, None), "torchvision")
        papers = distortion.distort(pixels.clone(), Distorted(other, None), "paper")
        assert (torchvisions - papers).abs().max() > 0.02
