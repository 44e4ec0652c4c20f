"""Crop and flip: against crop, resampling and mirroring done one by one; in the worker and on the device."""

import numpy as np
import pytest
import torch
from crop_samples import close, keys, smooth_images
from PIL import Image
from torch.nn import functional as F

from sslkit import CropFlip, CropRule, DataError, crop_boxes

RULE = CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1)


def views_of(images, draws, **options):
    views = CropFlip(image_size=16, **options)
    groups = [torch.stack([views.prepare(image, row)[0] for image, row in zip(images, draws, strict=True)])]
    return views.apply(groups, torch.from_numpy(draws))


@pytest.mark.parametrize("num_views", [1, 3])
def test_views_are_crops_resized_and_mirrored(num_views):
    images = smooth_images(40, 24, 30)
    draws = CropFlip(num_views=num_views).draw(keys(40))
    assert draws.shape == (40, num_views, 23)
    found = views_of(images, draws, crop_on="device", num_views=num_views)
    assert len(found) == num_views
    mirrored = 0
    for view, pixels in enumerate(found):
        assert pixels.shape == (40, 3, 16, 16)
        for number in range(40):
            top, left, height, width = (int(edge[0]) for edge in crop_boxes(draws[number, view][None], 24, 30, RULE))
            piece = images[number : number + 1, :, top : top + height, left : left + width].double() / 255
            expected = F.interpolate(piece, (16, 16), mode="bicubic", antialias=True)[0].clamp(0, 1)
            if draws[number, view, 22] < 0.5:
                mirrored += 1
                expected = expected.flip(-1)
            close(pixels[number].double(), expected)
    assert 0.3 < mirrored / (40 * num_views) < 0.7


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
def test_the_worker_and_the_device_make_the_same(semantics):
    images = smooth_images(12, 40, 30)
    draws = CropFlip(num_views=2).draw(keys(12))
    options = {"semantics": semantics, "num_views": 2}
    device = views_of(images, draws, crop_on="device", **options)
    worker = views_of([Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images], draws, **options)
    for ours, theirs in zip(worker, device, strict=True):
        assert (ours - theirs).abs().max() < 2.01 / 255  # rounded after either axis


def test_numbers_of_a_view_depend_on_its_key_alone():
    three, one = CropFlip(num_views=3).draw(keys(5)), CropFlip().draw(keys(5)[3:4])
    assert np.array_equal(three[3, :1], one[0])
    assert not np.array_equal(three[3, 0], three[3, 1])


@pytest.mark.parametrize(("probability", "said"), [(0.0, {"no"}), (1.0, {"yes"}), (0.5, {"yes", "no"})])
def test_what_is_said_of_views_is_what_they_are(probability, said):
    views = CropFlip(image_size=16, flip_probability=probability, num_views=20)
    (draws,) = views.draw(keys(1))
    words = views.describe(draws, 24, 30)
    assert {view["flip"] for view in words} == said
    boxes = crop_boxes(draws, 24, 30, RULE)
    assert [view["crop"] for view in words] == [boxes.in_words(number) for number in range(20)]


def test_any_number_of_channels():
    for channels in (1, 5):
        (view,) = views_of(smooth_images(2, 20, 20, channels), CropFlip().draw(keys(2)), crop_on="device")
        assert view.shape == (2, channels, 16, 16)


def test_an_empty_range_names_the_component():
    with pytest.raises(DataError, match="builtin.crop_flip: area must rise"):
        CropFlip(area=(0.5, 0.2))
