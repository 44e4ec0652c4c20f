"""The views as the engine sees them: draws, crops in either place, rates, and what apply must not do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sslkit_simclr import TwoCrops
from sslkit_simclr.operations.colour import ORDERS
from sslkit_simclr.parameters import NUM_DRAWS, parameters_of
from torch.utils._python_dispatch import TorchDispatchMode

from sslkit import DataError, sample_keys


def keys(count, epoch=0):
    return sample_keys(0, epoch, np.arange(count))


def smooth_images(count, height, width, channels=3, seed=0):
    """Random images without single-pixel noise: uint8 [count, channels, height, width]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8)


def prepared(views, images, draws):
    """What the engine's loader collates, with the draws as a tensor."""
    rows = [views.prepare(image, row) for image, row in zip(images, draws, strict=True)]
    return [torch.stack(group) for group in zip(*rows, strict=True)], torch.from_numpy(draws)


def test_draws_are_functions_of_the_key_alone():
    views = TwoCrops()
    draws = views.draw(keys(64))
    assert draws.shape == (64, 2, NUM_DRAWS)
    assert draws.dtype == np.float32
    parts = np.concatenate([views.draw(part) for part in np.array_split(keys(64), 5)])
    np.testing.assert_array_equal(parts, draws)
    assert len(np.unique(draws)) > 0.999 * draws.size  # no view, image or operation shares its numbers
    assert (views.draw(keys(64, epoch=1)) != draws).mean() > 0.999
    assert TwoCrops(num_views=1).draw(keys(3)).shape == (3, 1, NUM_DRAWS)


def test_rates():
    views = TwoCrops()
    draws = torch.from_numpy(views.draw(keys(20_000))).flatten(0, 1)
    parameters = parameters_of(draws, views._rule)
    jitter = parameters.jitter
    assert parameters.flipped.float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert parameters.gray.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert parameters.blurred.float().mean().item() == pytest.approx(0.5, abs=0.01)
    jittered = jitter.contrast != 1
    assert jittered.float().mean().item() == pytest.approx(0.8, abs=0.01)
    for values, low, high in (
        (jitter.brightness, -0.8, 0.8),
        (jitter.contrast, 0.2, 1.8),
        (jitter.saturation, 0.2, 1.8),
        (jitter.hue, -0.2, 0.2),
    ):
        chosen = values[jittered]
        assert low <= chosen.min() < low + 0.001 * (high - low) * 10
        assert high - 0.01 * (high - low) < chosen.max() <= high
        assert chosen.mean().item() == pytest.approx((low + high) / 2, abs=0.01 * (high - low))
    assert 0.1 <= parameters.sigma.min() < 0.11
    assert 1.99 < parameters.sigma.max() <= 2.0
    counts = torch.bincount(jitter.order, minlength=24)
    assert len(counts) == len(ORDERS)
    assert (counts - 40_000 / 24).abs().max() < 5 * (40_000 / 24) ** 0.5
    both = (parameters.gray & jittered).float().mean().item()
    assert both == pytest.approx(0.16, abs=0.01)  # grayscale does not depend on the jitter
    halves = parameters_of(draws, TwoCrops(colour_strength=0.5)._rule).jitter
    assert halves.brightness.max().item() == pytest.approx(0.4, abs=0.01)
    assert halves.hue.min().item() == pytest.approx(-0.1, abs=0.01)


@pytest.mark.parametrize("backend", ["fused", "kornia"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_views_are_finite_deterministic_and_different(backend, crop_on):
    views = TwoCrops(image_size=32, crop_on=crop_on, backend=backend, num_views=3)
    images = smooth_images(12, 40, 48)
    images[0], images[1] = 0, 255
    groups, draws = prepared(views, images, views.draw(keys(12)))
    first = views.apply(groups, draws)
    assert len(first) == 3
    for view in first:
        assert view.shape == (12, 3, 32, 32)
        assert view.dtype == torch.float32
        assert view.min() >= 0
        assert view.max() <= 1
    assert all(torch.equal(a, b) for a, b in zip(first, views.apply(groups, draws), strict=True))
    assert (first[0][2:] - first[1][2:]).abs().mean() > 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = views.apply(groups, draws)
    assert all(torch.equal(a, b) for a, b in zip(first, inside, strict=True))


@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("size", [32, 24, 96])
def test_backends_agree(crop_on, size):
    images = smooth_images(16, 40, 48)
    images[0], images[1], images[2] = 0, 255, 0
    images[2, :, 20, 20] = 255
    images[3] = torch.tensor([255, 0, 64], dtype=torch.uint8).view(3, 1, 1)
    images[4:8] = torch.randint(0, 256, (4, 3, 40, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    fused = TwoCrops(image_size=size, crop_on=crop_on)
    kornia = TwoCrops(image_size=size, crop_on=crop_on, backend="kornia")
    groups, draws = prepared(fused, images, fused.draw(keys(16)))
    for ours, theirs in zip(fused.apply(groups, draws), kornia.apply(groups, draws), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_crops_on_the_device_equal_crops_in_the_worker():
    options = {"image_size": 24, "jitter_probability": 0.0, "grayscale_probability": 0.0, "blur_probability": 0.0}
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
    # One rounding to whole levels for tensors; Pillow rounds after either axis.
    assert (on_device - from_tensors).abs().max() < 0.51 / 255
    assert (on_device - from_pictures).abs().max() < 2.01 / 255
    whole, _ = prepared(device, pictures, numbers)
    assert torch.equal(whole[0][:, 0], images)


def test_a_batch_is_its_parts():
    views = TwoCrops(image_size=224, crop_on="worker")  # large enough for several tiles on a CPU
    images = smooth_images(5, 60, 60)
    (group,), draws = prepared(views, images, views.draw(keys(5)))
    together = views.apply([group], draws)
    for number in range(5):
        alone = views.apply([group[number : number + 1]], draws[number : number + 1])
        for view in range(2):
            torch.testing.assert_close(together[view][number], alone[view][0], rtol=0, atol=1e-6)


def test_apply_never_waits_for_the_device():
    class Counter(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    for crop_on in ("worker", "device"):
        views = TwoCrops(image_size=32, crop_on=crop_on)
        lengths = []
        for epoch in range(2):
            groups, draws = prepared(views, smooth_images(6, 36, 36), views.draw(keys(6, epoch)))
            views.apply(groups, draws)  # the plan of the orders is made once
            with Counter() as counter:
                views.apply(groups, draws)
            for name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item"):
                assert name not in counter.seen
            lengths.append(len(counter.seen))
        assert lengths[0] == lengths[1]


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        views = TwoCrops(image_size=32, crop_on="device")
        views.apply([smooth_images(2, 32, 32).unsqueeze(1)], torch.from_numpy(views.draw(keys(2))))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_images_without_three_channels():
    plain = {"jitter_probability": 0.0, "grayscale_probability": 0.0, "image_size": 32}
    images = smooth_images(4, 32, 32, channels=1)
    for crop_on in ("worker", "device"):
        views = TwoCrops(**plain, crop_on=crop_on)
        result = views.apply(*prepared(views, images, views.draw(keys(4))))
        assert result[0].shape == (4, 1, 32, 32)
        picture = Image.fromarray(images[0, 0].numpy())
        assert views.prepare(picture, views.draw(keys(1))[0])[0].shape[1] == 1
        for colourful in ({"grayscale_probability": 0.0}, {"jitter_probability": 0.0}):
            views = TwoCrops(image_size=32, crop_on=crop_on, **colourful)
            with pytest.raises(DataError, match=r"1 channels.*grayscale_probability = 0"):
                views.apply(*prepared(views, images, views.draw(keys(4))))
    assert TwoCrops(colour_strength=0.0, grayscale_probability=0.0)._rule.jitter_probability == 0


def test_nothing_chosen_leaves_the_crop():
    off = dict.fromkeys(("flip_probability", "jitter_probability", "grayscale_probability", "blur_probability"), 0.0)
    views = TwoCrops(image_size=20, **off)
    groups, draws = prepared(views, smooth_images(4, 30, 30), views.draw(keys(4)))
    for number, view in enumerate(views.apply(groups, draws)):
        assert torch.equal(view, groups[0][:, number].float() / 255)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"area": (0.5, 0.2)}, "area must rise"),
        ({"area": (0.5, 1.2)}, "area must rise"),
        ({"aspect": (0.0, 1.0)}, "aspect must rise"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma must rise"),
        ({"area": (0.05, 0.14)}, "set coverage = 0.05"),
        ({"area": (0.05, 0.05)}, "set coverage = 0.05"),
    ],
)
def test_ranges_that_leave_nothing_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        TwoCrops(**options)


@pytest.mark.parametrize("backend", ["fused", "kornia"])
def test_views_can_be_sent_to_workers(backend):
    views = TwoCrops(image_size=32, backend=backend)
    again = pickle.loads(pickle.dumps(views))
    image = smooth_images(1, 40, 40)[0]
    draws = views.draw(keys(1))[0]
    assert torch.equal(views.prepare(image, draws)[0], again.prepare(image, draws)[0])
