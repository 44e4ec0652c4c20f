"""The views of figure 5: one crop twice, the operations in their order on the second only."""

from __future__ import annotations

import pickle
from itertools import permutations

import numpy as np
import pytest
import torch
from sslkit_simclr.one_branch import OneBranch
from sslkit_simclr.operations import blur, corrupt, distortion, geometry, noise
from sslkit_simclr.policy import COLUMNS
from view_samples import FROM_HOST, WAITING, Counter, close, keys, prepared, require_pixels, smooth_images

from sslkit import CropRule, DataError
from sslkit.builtin.views import crop, resample

NAMES = ["crop", "cutout", "colour", "sobel", "noise", "blur", "rotate"]
PAIRS = [list(pair) for pair in permutations(NAMES, 2)]
SIZE = 32
RULE = CropRule((0.08, 1.0), (3 / 4, 4 / 3), 0.1)


def views_of(operations, crop_on="device", count=4, **options):
    """The two views of some images, and the draws they came from."""
    views = OneBranch(operations=operations, image_size=SIZE, crop_on=crop_on, **options)
    groups, draws = prepared(views, smooth_images(count, 40, 48), views.draw(keys(count)))
    return views.apply(groups, draws), draws


def crop_again(images, draws):
    boxes = crop.crop_boxes(draws[:, COLUMNS["crop"]], SIZE, SIZE, RULE)
    return resample.crop_and_resize(images, boxes, SIZE, torch.zeros(len(images), dtype=torch.bool))


def by_columns(name, operation):
    return lambda images, draws: operation(images, operation.parameters(draws[:, COLUMNS[name]]))


LITERAL = {
    "crop": crop_again,
    "cutout": by_columns("cutout", geometry.Cutout(1.0, 0.5)),
    "colour": by_columns("colour", distortion.ColourDistortion(0.8, 0.2, 1.0, "paper", distortion.distort)),
    "sobel": by_columns("sobel", corrupt.Sobel(1.0)),
    "noise": by_columns("noise", noise.Noise(1.0, 0.1)),
    "blur": by_columns("blur", blur.Blur(1.0, (0.1, 2.0), 1, "black", blur.gaussian_blur)),
    "rotate": by_columns("rotation", geometry.QuarterTurns(1.0)),
}


@pytest.mark.parametrize("operations", [*([name] for name in NAMES), *PAIRS], ids="-".join)
def test_the_second_view_is_the_first_after_the_operations_in_their_order(operations):
    (plain, changed), draws = views_of(operations)
    assert plain.shape == changed.shape == (4, 3, SIZE, SIZE)
    require_pixels(plain)
    require_pixels(changed)
    expected = plain.clone()
    for name in operations:
        expected = LITERAL[name](expected.clone(), draws[:, 1])
    close(changed, expected.clamp(0, 1), 1e-6)
    assert ((changed - plain).abs().flatten(1).max(1).values > 0.004).float().mean() >= 0.75


# A turn moves neither colours, noise nor blur around; of the rest the order must show.
COMMUTING = {frozenset(pair) for pair in (("sobel", "rotate"), ("blur", "rotate"), ("colour", "rotate"))}


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[0] < pair[1]], ids="-".join)
def test_the_order_of_a_pair_matters(pair):
    (_, one), _ = views_of(pair)
    (_, other), _ = views_of(pair[::-1])
    assert ((one - other).abs().max() < 1e-4) == (frozenset(pair) in COMMUTING)


@pytest.mark.parametrize("name", NAMES)
def test_the_crop_does_not_depend_on_the_operations(name):
    (plain, _), draws = views_of([name])
    (same, _), _ = views_of(["rotate", "colour"])
    assert torch.equal(plain, same)
    views = OneBranch(operations=[name], image_size=SIZE, crop_on="device")
    boxes = crop.crop_boxes(draws[:, 0], 40, 48, RULE)
    images = smooth_images(4, 40, 48)
    close(plain, resample.crop_and_resize(images, boxes, SIZE, torch.zeros(4, dtype=torch.bool)), 1e-6)
    moved = draws.clone()
    moved[:, 1] = draws[:, 1].flip(0)  # other numbers for the operations leave the crop alone
    assert torch.equal(views.apply([images.unsqueeze(1)], moved)[0], plain)


def test_crops_in_the_worker_equal_those_on_the_device_up_to_rounding():
    for name in ("rotate", "cutout"):
        worker, _ = views_of([name], "worker")
        device, _ = views_of([name], "device")
        for ours, theirs in zip(worker, device, strict=True):
            assert (ours - theirs).abs().max() < 2.01 / 255


def test_backends_agree():
    for operations in (["colour", "blur"], ["blur", "colour"]):
        for ours, theirs in zip(views_of(operations)[0], views_of(operations, backend="kornia")[0], strict=True):
            close(ours, theirs)


@pytest.mark.parametrize("operations", [["colour", "blur"], ["noise", "crop"]])
def test_draws_and_pixels_are_functions_of_the_key_alone(operations):
    views = pickle.loads(pickle.dumps(OneBranch(operations=operations, image_size=SIZE, crop_on="device")))
    (group,), draws = prepared(views, smooth_images(80, 40, 48), views.draw(keys(80)))  # more than one tile
    together = torch.stack(views.apply([group], draws))
    halves = [torch.stack(views.apply([group[part]], draws[part])) for part in (slice(0, 30), slice(30, 80))]
    assert torch.equal(torch.cat(halves, dim=1), together)
    np.testing.assert_array_equal(views.draw(keys(80)[7:9]), draws[7:9].numpy())
    assert len(np.unique(draws)) > 0.999 * draws.numel()


@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_apply_never_waits_for_the_device(crop_on):
    for operations in PAIRS[::2]:
        views = OneBranch(operations=operations, image_size=SIZE, crop_on=crop_on)
        groups, draws = prepared(views, smooth_images(3, 40, 48), views.draw(keys(3)))
        with Counter() as counter:
            views.apply(groups, draws)
        assert not (WAITING | FROM_HOST) & set(counter.seen)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_all_but_colour_take_any_number_of_channels(channels):
    images = smooth_images(3, 40, 48, channels=channels)
    for name in NAMES:
        views = OneBranch(operations=[name], image_size=SIZE)
        groups, draws = prepared(views, images, views.draw(keys(3)))
        if name == "colour":
            with pytest.raises(DataError, match=f'{channels} channels.*leave "colour" out of operations'):
                views.apply(groups, draws)
        else:
            assert [view.shape for view in views.apply(groups, draws)] == [(3, channels, SIZE, SIZE)] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"operations": ["blur"], "image_size": 19}, "no kernel below 20 pixels"),
        ({"operations": ["crop"], "area": (0.5, 0.2)}, "simclr.one_branch: area must rise"),
        ({"operations": ["blur"], "blur_sigma": (2.0, 1.0)}, "blur_sigma must rise"),
        ({"operations": ["crop"], "area": (0.05, 0.14)}, "set coverage = 0.05"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(DataError, match=words):
        OneBranch(**options)


def test_descriptions_agree_with_the_parameters():
    views = OneBranch(operations=["crop", "rotate"], image_size=SIZE)
    draws = views.draw(keys(20))
    for row in draws:
        plain, changed = views.describe(row, 40, 48)
        boxes = crop.crop_boxes(row[:1], 40, 48, RULE)
        assert plain == {"crop": boxes.in_words(0)}
        again = crop.crop_boxes(row[1:], SIZE, SIZE, RULE)
        quarters = 1 + int(row[1, COLUMNS["rotation"]][1] * 3)
        assert changed == plain | {"crop again": again.in_words(0), "rotation": f"{90 * quarters}°"}


def test_colour_acts_at_the_papers_rates():
    views = OneBranch(operations=["colour"], image_size=SIZE)
    (parameters,) = views._policy.parameters(torch.from_numpy(views.draw(keys(10_000)))[:, 1])
    assert (parameters.jitter.contrast != 1).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert parameters.gray.float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_an_operation_named_twice_acts_once_as_on_the_diagonal_of_the_figure():
    keys = np.arange(4, dtype=np.uint64)
    images = torch.randint(0, 256, (4, 1, 3, 40, 40), dtype=torch.uint8)
    once, twice = (
        OneBranch(operations=names, image_size=32, crop_on="device") for names in (["noise"], ["noise", "noise"])
    )
    seen = [views.apply([images], torch.from_numpy(views.draw(keys))) for views in (once, twice)]
    assert torch.equal(seen[0][1], seen[1][1])
