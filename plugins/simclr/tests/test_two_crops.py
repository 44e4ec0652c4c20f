"""Whole views: pixels, crops in either place, channels, options, descriptions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sslkit_simclr import TwoCrops
from sslkit_simclr.policy import COLUMNS
from view_samples import (
    EVERYTHING,
    NOTHING,
    SEMANTICS,
    close,
    hostile_images,
    keys,
    parameters_of,
    prepared,
    require_pixels,
    smooth_images,
)

from sslkit import CropFlip, CropRule, DataError, crop_boxes


@pytest.mark.parametrize("backend", ["fused", "kornia"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_views_are_finite_deterministic_and_different(semantics, crop_on, backend):
    views = TwoCrops(image_size=32, crop_on=crop_on, backend=backend, semantics=semantics, num_views=3, **EVERYTHING)
    images = torch.cat([(hostile_images(40) * 255).to(torch.uint8), smooth_images(4, 40, 40)])
    groups, draws = prepared(views, images, views.draw(keys(16)))
    first = views.apply(groups, draws)
    assert len(first) == 3
    for view in first:
        assert view.shape == (16, 3, 32, 32)
        assert view.dtype == torch.float32
        require_pixels(view)
    assert all(torch.equal(a, b) for a, b in zip(first, views.apply(groups, draws), strict=True))
    assert (first[0][10:] - first[1][10:]).abs().mean() > 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = views.apply(groups, draws)
    assert all(torch.equal(a, b) for a, b in zip(first, inside, strict=True))


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("size", [32, 24, 184])
def test_backends_agree(size, crop_on, semantics):
    images = smooth_images(16, 40, 48)
    images[:8, :, :40, :40] = (hostile_images(40)[:8] * 255).to(torch.uint8)
    images[8:12] = torch.randint(0, 256, (4, 3, 40, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fused = TwoCrops(image_size=size, crop_on=crop_on, semantics=semantics)
    kornia = TwoCrops(image_size=size, crop_on=crop_on, semantics=semantics, backend="kornia")
    groups, draws = prepared(fused, images, fused.draw(keys(16)))
    for ours, theirs in zip(fused.apply(groups, draws), kornia.apply(groups, draws), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_crops_on_the_device_equal_crops_in_the_worker(semantics):
    options = {"image_size": 24, "semantics": semantics, **NOTHING, "flip_probability": 0.5}
    images = smooth_images(16, 40, 48)
    worker, device = TwoCrops(**options), TwoCrops(**options, crop_on="device")
    assert (worker.whole_images, device.whole_images) == (False, True)
    numbers = worker.draw(keys(16))
    groups, draws = prepared(device, images, numbers)
    assert groups[0].shape == (16, 1, 3, 40, 48)
    on_device = torch.stack(device.apply(groups, draws))
    groups, _ = prepared(worker, images, numbers)
    assert groups[0].shape == (16, 2, 3, 24, 24)
    assert groups[0].dtype == torch.uint8
    from_tensors = torch.stack(worker.apply(groups, draws))
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    from_pictures = torch.stack(worker.apply(*prepared(worker, pictures, numbers)))
    assert torch.equal(from_tensors, from_pictures)
    assert (on_device - from_tensors).abs().max() < 2.01 / 255  # rounded after either axis
    whole, _ = prepared(device, pictures, numbers)
    assert torch.equal(whole[0][:, 0], images)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (48, 64)])
def test_boxes_can_be_read_off_a_picture_that_codes_its_places(height, width):
    count, size = 1000, 24
    y, x = np.mgrid[:height, :width]
    levels = np.stack([x * 255 / (width - 1), y * 255 / (height - 1), 0 * x], axis=-1)
    picture = Image.fromarray(levels.round().astype(np.uint8))
    views = TwoCrops(image_size=size, **NOTHING | {"flip_probability": 0.5})
    groups, draws = prepared(views, [picture] * count, views.draw(keys(count)))
    found = torch.stack(views.apply(groups, draws), 1).double().numpy() * 255  # [B, V, C, S, S]
    inner = np.arange(4, size - 4) + 0.5  # the kernel bends the ramp at the edges
    edges = []
    for ramp, length in ((found[:, :, 0].mean(-2), width), (found[:, :, 1].mean(-1), height)):
        slope, start = np.polyfit(inner, ramp[..., 4:-4].reshape(-1, len(inner)).T, 1) * (length - 1) / 255
        reach = slope * size
        edges += [np.minimum(start, start + reach) + 0.5, abs(reach), reach < 0]
    left, across, mirrored, top, tall, upside_down = (edge.reshape(count, 2) for edge in edges)
    rule = CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1)
    for seen, drawn in zip((top, left, tall, across), crop_boxes(draws.numpy(), height, width, rule), strict=True):
        assert abs(seen - drawn).max() < 0.01 * max(height, width)
    area = tall * across / (height * width)
    assert area.mean() == pytest.approx(0.388, abs=0.012)  # both are 3:4, and the paper's law hardly knows sizes
    assert np.median(area) == pytest.approx(0.354, abs=0.025)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.04)
    assert not upside_down.any()
    boxes = np.stack([top, left, tall, across], axis=-1).round()
    assert len(np.unique(boxes.reshape(-1, 4), axis=0)) > 0.9 * 2 * count  # hardly two images of a batch share one
    assert (boxes[:, 0] != boxes[:, 1]).any(-1).mean() > 0.99  # nor two views of an image
    assert abs(np.corrcoef(area.T)[0, 1]) < 0.1


@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("semantics", SEMANTICS)
def test_crop_and_flip_are_those_of_builtin_crop_flip(semantics, crop_on):
    options = {"image_size": 32, "semantics": semantics, "crop_on": crop_on}
    ours = TwoCrops(**options, colour_strength=0, grayscale_probability=0, blur_probability=0)
    theirs = CropFlip(**options, num_views=2)
    images = smooth_images(6, 40, 48)
    for own, other in zip(
        *(views.apply(*prepared(views, images, views.draw(keys(6)))) for views in (ours, theirs)), strict=True
    ):
        close(own, other, 1e-6)


def test_nothing_chosen_leaves_the_crop():
    views = TwoCrops(image_size=20, **NOTHING)
    groups, draws = prepared(views, smooth_images(4, 30, 30), views.draw(keys(4)))
    for number, view in enumerate(views.apply(groups, draws)):
        assert torch.equal(view, groups[0][:, number].float() / 255)


@pytest.mark.parametrize("size", [32, 16])
def test_one_sigma_per_batch_is_that_of_the_first_image(size):
    options = {"image_size": size, **NOTHING, "blur_probability": 1.0}
    each, shared = TwoCrops(**options), TwoCrops(**options, blur_sigma_per="batch")
    images = smooth_images(5, 40, 40)
    groups, draws = prepared(each, images, each.draw(keys(5)))
    copied = draws.clone()
    if size == 32:  # at 16 pixels there is no blur, nor a number for it
        copied[:, :, COLUMNS["blur"].stop - 1] = draws[:1, :, COLUMNS["blur"].stop - 1]
        assert copied[0, 0, -1] != copied[0, 1, -1]  # every view has its own
        assert not torch.equal(each.apply(groups, draws)[0], each.apply(groups, copied)[0])
    before = draws.clone()
    for ours, expected in zip(shared.apply(groups, draws), each.apply(groups, copied), strict=True):
        assert torch.equal(ours, expected)
    assert torch.equal(draws, before)


@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("channels", [1, 4])
def test_colour_operations_refuse_other_channels_and_say_what_to_set(channels, crop_on):
    images = smooth_images(4, 32, 32, channels=channels)
    for colourful in ({"grayscale_probability": 0.0}, {"jitter_probability": 0.0}, {}):
        views = TwoCrops(image_size=32, crop_on=crop_on, **colourful)
        message = f"{channels} channels, but the colour operations, jitter and grayscale.*set jitter_probability = 0"
        with pytest.raises(DataError, match=message + ".*grayscale_probability = 0"):
            views.apply(*prepared(views, images, views.draw(keys(4))))


@pytest.mark.parametrize("channels", [1, 4, 13])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_all_other_operations_keep_every_channel(channels, crop_on):
    everything = dict.fromkeys(EVERYTHING, 1.0) | {"blur_probability": 1.0}
    views = TwoCrops(image_size=32, crop_on=crop_on, colour_strength=0, grayscale_probability=0, **everything)
    images = smooth_images(3, 40, 40, channels=channels)
    groups, draws = prepared(views, images, views.draw(keys(3)))
    for view in views.apply(groups, draws):
        assert view.shape == (3, channels, 32, 32)
        require_pixels(view)
        assert (view.flatten(2).std(-1) > 0).all()
    calm = TwoCrops(image_size=32, crop_on=crop_on, **NOTHING)
    groups, draws = prepared(calm, images, calm.draw(keys(3)))
    view = calm.apply(groups, draws)[0]
    means = view.mean((2, 3))
    alone = [calm.apply([groups[0][:, :, one : one + 1]], draws)[0].mean((1, 2, 3)) for one in range(channels)]
    close(means, torch.stack(alone, 1), 1e-6)  # and leave them in their order


def test_grey_pictures_have_one_channel():
    picture = Image.fromarray(smooth_images(1, 32, 32, channels=1)[0, 0].numpy())
    for crop_on in ("worker", "device"):
        views = TwoCrops(image_size=32, crop_on=crop_on)
        assert views.prepare(picture, views.draw(keys(1))[0])[0].shape[1] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"area": (0.5, 0.2)}, "area must rise"),
        ({"area": (0.5, 1.2)}, "area must rise"),
        ({"aspect": (0.0, 1.0)}, "aspect must rise"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma must rise"),
        ({"area": (0.05, 0.14)}, "set coverage = 0.05"),
        ({"area": (0.05, 0.05)}, "set coverage = 0.05"),
        ({"auto_augment": "imagenet", "crop_on": "device"}, 'set crop_on = "worker"'),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        TwoCrops(**options)


def test_torchvisions_law_has_no_coverage_to_refuse():
    TwoCrops(area=(0.05, 0.14), semantics="torchvision")


@pytest.mark.parametrize("backend", ["fused", "kornia"])
def test_views_can_be_sent_to_workers(backend):
    views = TwoCrops(image_size=32, backend=backend, auto_augment="cifar10", **EVERYTHING)
    again = pickle.loads(pickle.dumps(views))
    image = smooth_images(1, 40, 40)[0]
    draws = views.draw(keys(1))[0]
    assert torch.equal(views.prepare(image, draws)[0], again.prepare(image, draws)[0])


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_descriptions_agree_with_the_parameters(semantics):
    views = TwoCrops(image_size=32, semantics=semantics, num_views=3, **EVERYTHING)
    draws = views.draw(keys(30))
    parameters = parameters_of(views, draws)
    said = [view for row in draws for view in views.describe(row, 40, 48)]
    assert len(said) == 90
    (jitter, gray), blurred, turned = parameters["colour"], parameters["blur"], parameters["rotation"]
    boxes = crop_boxes(draws.reshape(90, -1), 40, 48, CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1, semantics))
    sign = "+" if semantics == "paper" else "x"
    for number, view in enumerate(said):
        assert list(view) == ["crop", "flip", "rotation", "jitter", "grayscale", "blur", "solarize", "equalize",
                              "motion blur", "sobel", "noise", "cutout"]  # fmt: skip
        assert view["crop"] == boxes.in_words(number)
        for name, values in (("flip", parameters["flip"].chosen), ("grayscale", gray)):
            assert view[name] == ("yes" if values[number] else "no")
        for name in ("solarize", "equalize", "sobel", "noise", "cutout", "motion blur"):
            assert (view[name] != "no") == parameters[name.replace(" ", "_")].chosen[number].item()
        assert view["rotation"] == (f"{90 * int(turned.quarters[number])}°" if turned.quarters[number] else "no")
        assert view["blur"] == (f"sigma {blurred.sigma[number]:.2f}" if blurred.chosen[number] else "no")
        if jitter.contrast[number] == 1:
            assert view["jitter"] == "no"
            continue
        values = {"brightness": f"{jitter.brightness[number]:{sign.replace('x', '')}.2f}", "hue": ""}
        values |= {name: f"x{getattr(jitter, name)[number]:.2f}" for name in ("contrast", "saturation")}
        words = view["jitter"].split(", ")
        names = ("brightness", "contrast", "saturation", "hue")
        assert [word.split()[0] for word in words] == [names[one] for one in jitter.places[number].argsort()]
        for word in words:
            name, value = word.split()
            assert value.removeprefix("x" if name == "brightness" else "").startswith(values[name])


def test_a_sigma_that_the_batch_decides_is_not_made_up():
    views = TwoCrops(image_size=32, blur_sigma_per="batch", blur_probability=0.5)
    said = {view["blur"] for row in views.draw(keys(20)) for view in views.describe(row, 40, 48)}
    assert said == {"no", "sigma of the batch's first image"}
