"""Groups of views: equal to two_crops where they should be, independent, refused where they cannot work."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sslkit_simclr import MultiCrop, TwoCrops
from view_samples import NOTHING, close, keys, prepared, require_pixels, smooth_images

from sslkit import DataError, RecipeError, load_recipe

MULTI = [
    {"num_views": 2, "image_size": 24, "area": (0.3, 1.0)},
    {"num_views": 3, "image_size": 16, "area": (0.1, 0.3)},
]
ASYMMETRIC = [
    {"num_views": 1, "blur_probability": 1.0},
    {"num_views": 1, "blur_probability": 0.1, "solarize_probability": 0.2},
]


def applied(views, count=6, size=40):
    return views.apply(*prepared(views, smooth_images(count, size, size + 8), views.draw(keys(count))))


@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
@pytest.mark.parametrize("written", ["in the group", "for all groups"])
def test_one_group_is_two_crops_bit_for_bit(written, semantics, crop_on):
    options = {"image_size": 32, "semantics": semantics, "crop_on": crop_on, "solarize_probability": 0.5}
    group, common = (options, {}) if written == "in the group" else ({}, options)
    ours = MultiCrop(groups=[{"num_views": 2, **group}], **common)
    theirs = TwoCrops(**options)
    assert (ours.num_views, ours.whole_images) == (2, theirs.whole_images)
    np.testing.assert_array_equal(ours.draw(keys(6)), theirs.draw(keys(6)))
    for own, other in zip(applied(ours), applied(theirs), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("backend", ["fused", "kornia"])
@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_views_come_group_after_group_in_the_groups_sizes(crop_on, backend):
    views = MultiCrop(groups=MULTI, crop_on=crop_on, backend=backend)
    assert (views.num_views, views.whole_images) == (5, crop_on == "device")
    (*groups,), draws = prepared(views, smooth_images(6, 40, 48), views.draw(keys(6)))
    shapes = [(6, 1, 3, 40, 48)] if crop_on == "device" else [(6, 2, 3, 24, 24), (6, 3, 3, 16, 16)]
    assert [tuple(group.shape) for group in groups] == shapes
    made = views.apply(groups, draws)
    assert [view.shape[-1] for view in made] == [24, 24, 16, 16, 16]
    for view in made:
        assert view.dtype == torch.float32
        require_pixels(view)
    for ours, theirs in zip(made, applied(MultiCrop(groups=MULTI, crop_on=crop_on)), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_each_group_is_two_crops_with_its_options_and_its_part_of_the_draws(crop_on):
    views = MultiCrop(groups=MULTI, image_size=20, area=(0.9, 1.0), crop_on=crop_on)  # both say otherwise
    images, numbers = smooth_images(6, 40, 48), views.draw(keys(6))
    made = views.apply(*prepared(views, images, numbers))
    large, small = (TwoCrops(**group, crop_on=crop_on) for group in MULTI)
    expected = [
        view
        for group, part in ((large, slice(0, 2)), (small, slice(2, 5)))
        for view in group.apply(*prepared(group, images, numbers[:, part]))
    ]
    for ours, theirs in zip(made, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_groups_on_the_device_and_in_the_worker_go_together():
    views = MultiCrop(groups=[MULTI[0] | {"crop_on": "device"}, MULTI[1]], **NOTHING)
    assert not views.whole_images
    groups, draws = prepared(views, smooth_images(6, 40, 48), views.draw(keys(6)))
    assert [tuple(group.shape[1:]) for group in groups] == [(1, 3, 40, 48), (3, 3, 16, 16)]
    for mixed, alike in zip(views.apply(groups, draws), applied(MultiCrop(groups=MULTI, **NOTHING)), strict=True):
        assert (mixed - alike).abs().max() < 2.01 / 255


def test_no_two_views_share_a_random_number():
    views = MultiCrop(groups=[{"num_views": 2}, {"num_views": 2}, {"num_views": 3}], image_size=20)
    draws = views.draw(keys(400))
    assert draws.shape[:2] == (400, 7)
    assert len(np.unique(draws)) > 0.995 * draws.size  # of 24 bits, some are equal by chance
    correlation = np.corrcoef(draws.reshape(400, -1).T) - np.eye(draws[0].size)
    assert abs(correlation).max() < 6 / 400**0.5


def test_draws_follow_from_the_key_alone():
    views = pickle.loads(pickle.dumps(MultiCrop(groups=MULTI)))
    np.testing.assert_array_equal(views.draw(keys(9)[5:7]), MultiCrop(groups=MULTI).draw(keys(9))[5:7])


def test_a_group_leaves_the_views_before_it_as_they_were():
    alone = applied(MultiCrop(groups=MULTI[:1]))
    for options in (MULTI[1], MULTI[1] | {"motion_blur_probability": 1.0, "num_views": 1}):
        together = applied(MultiCrop(groups=[MULTI[0], options]))
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(together[:2], alone, strict=True))


@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_each_view_of_an_asymmetric_pair_has_its_own_probabilities(crop_on):
    count = 1500
    views = MultiCrop(groups=ASYMMETRIC, image_size=20, crop_on=crop_on)
    said = [views.describe(row, 40, 40) for row in views.draw(keys(count))]
    share = {
        (number, name): np.mean([words[number].get(name, "no") != "no" for words in said])
        for number in (0, 1)
        for name in ("blur", "solarize", "flip", "grayscale")
    }
    expected = {"blur": (1.0, 0.1), "solarize": (0.0, 0.2), "flip": (0.5, 0.5), "grayscale": (0.2, 0.2)}
    for (number, name), found in share.items():
        assert found == pytest.approx(expected[name][number], abs=0.04)
    solarized = MultiCrop(groups=[{"num_views": 1}, {"num_views": 1, "solarize_probability": 1.0}], **NOTHING)
    white = torch.full((2, 3, 40, 40), 255, dtype=torch.uint8)
    first, second = solarized.apply(*prepared(solarized, white, solarized.draw(keys(2))))
    assert (first.min().item(), second.max().item()) == (1.0, 0.0)


def test_descriptions_are_those_of_the_groups():
    views = MultiCrop(groups=MULTI, flip_probability=1.0)
    row = views.draw(keys(1))[0]
    large, small = (TwoCrops(**group, flip_probability=1.0) for group in MULTI)
    assert views.describe(row, 40, 48) == [*large.describe(row[:2], 40, 48), *small.describe(row[2:], 40, 48)]


def test_all_groups_are_compiled():
    views = MultiCrop(groups=ASYMMETRIC, image_size=20)
    views.compile()
    colours = [part for group in views._groups for part in group._policy._operations if part.name == "colour"]
    assert [part.compiled for part in colours] == [True, True]


def test_what_cannot_work_is_refused_by_its_group():
    with pytest.raises(DataError, match=r"simclr\.multi_crop: groups is empty"):
        MultiCrop(groups=[])
    with pytest.raises(DataError, match=r"simclr\.multi_crop: groups\.1: area must rise"):
        MultiCrop(groups=[MULTI[0], {"num_views": 1, "area": (0.5, 0.2)}])


RECIPE = """
schema = 1
name = "groups"

[pretrain]
epochs = 1
batch_size = 4

[pretrain.data]
name = "builtin.shapes"

[pretrain.backbone]
name = "builtin.timm"
model = "test_resnet"

[pretrain.head]
name = "simclr.mlp"

[pretrain.objective]
name = "simclr.nt_xent"

[pretrain.optimizer]
name = "builtin.adamw"
learning_rate = 1e-3

[pretrain.views]
name = "simclr.multi_crop"
colour_strength = 0.5

[[pretrain.views.groups]]
num_views = 2
image_size = 24

[[pretrain.views.groups]]
num_views = 1
image_size = 16
area = [0.1, 0.3]
"""


def test_a_recipe_gives_groups_and_what_they_share(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    choice = load_recipe(tmp_path / "r.toml").pretrain.views
    assert choice.options["groups"][1] == {"num_views": 1, "image_size": 16, "area": (0.1, 0.3)}
    assert (choice.options["colour_strength"], choice.options["flip_probability"]) == (0.5, 0.5)
    assert choice.build().num_views == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image_size = 16", "image_sise = 16", "groups.1.image_sise: unknown key"),
        ("image_size = 16", 'image_size = "16"', "groups.1.image_size: should be a valid integer"),
        ("area = [0.1, 0.3]", "blur_probability = 2.0", "groups.1.blur_probability: should be less than or equal to 1"),
        ("num_views = 1\n", "", "groups.1.num_views: is required"),
        ("colour_strength", "colour_strenght", 'colour_strenght: unknown key; did you mean "colour_strength"'),
        ("colour_strength = 0.5", "num_views = 2", "num_views: unknown key"),
    ],
)
def test_a_mistake_in_a_group_is_told_with_its_line(old, new, words, tmp_path):
    text = RECIPE.replace(old, new)
    (tmp_path / "r.toml").write_text(text)
    line = 1 + text[: text.index(new)].count("\n") if new else r"\d+"
    with pytest.raises(RecipeError, match=rf"r\.toml:{line} pretrain\.views\.{words}"):
        load_recipe(tmp_path / "r.toml")
