from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from sslkit import DataError
from sslkit.builtin.data.shapes import Shapes
from sslkit.builtin.data.shapes_drawing import _OUTLINES, NUM_DRAWS, draw_images, named_draws


@pytest.fixture(scope="module")
def shapes():
    return Shapes(num_train=600, num_validation=50, num_test=200)


def test_splits_are_tables_of_the_asked_size(shapes):
    for name, count in (("pretrain", 600), ("train", 600), ("validation", 50), ("test", 200)):
        table = shapes.table(name)
        assert (table.dtype, tuple(table.shape)) == (torch.uint8, (count, 3, 32, 32))
        dataset = shapes.split(name)
        image, label = dataset[count - 1]
        assert torch.equal(image, table[-1])
        assert type(label) is int
        assert label == dataset.labels[-1]
        assert len(dataset) == count
    assert Shapes(image_size=17, num_train=3).table("train").shape == (3, 3, 17, 17)
    assert shapes.split("pretrain") is shapes.split("train")
    assert shapes.split("test").describe(7) == "shapes/test[7]"
    with pytest.raises(DataError, match="no split 'tests'; did you mean \"test\""):
        shapes.split("tests")


def test_the_same_options_give_the_same_images(shapes):
    again = Shapes(num_train=600)
    assert torch.equal(again.table("train"), shapes.table("train"))
    # A smaller set is the beginning of a larger one, whatever chunk an image was drawn in.
    smaller = Shapes(num_train=37)
    assert torch.equal(smaller.table("train"), shapes.table("train")[:37])
    assert smaller.split("train").labels.tolist() == shapes.split("train").labels[:37].tolist()
    assert not torch.equal(Shapes(num_train=37, seed=1).table("train"), smaller.table("train"))


def test_the_drawing_is_frozen():
    # Another sum means other images: raise VERSION, and run the quick-start's numbers again.
    images = Shapes(num_train=100).table("train").double()
    assert images.mean().item() == pytest.approx(129.1513, abs=0.02)  # processors may differ by a grey level
    assert images.std().item() == pytest.approx(73.7471, abs=0.02)


def test_images_and_views_draw_different_numbers():
    from sslkit import sample_keys, uniforms

    hue = Shapes(num_train=1000)._draws("train")[1]["hue"]
    for epoch in range(3):
        views = uniforms(sample_keys(0, epoch, np.arange(1000)), 1, 50)[:, 0]
        assert np.abs(np.corrcoef(views.T, hue)[-1, :-1]).max() < 0.2


def test_splits_share_no_image(shapes):
    seen = [shapes.table(name).flatten(1).numpy() for name in ("train", "validation", "test")]
    assert len(np.unique(np.concatenate(seen), axis=0)) == 850


def test_every_ten_images_hold_each_class_once(shapes):
    assert shapes.num_classes == 10
    assert shapes.class_names[:3] == ("striped disc", "checked disc", "striped square")
    labels = shapes.split("train").labels
    assert labels.dtype == np.int64
    rows = labels.reshape(-1, 10)
    assert (np.sort(rows, axis=1) == np.arange(10)).all()
    assert len({tuple(row) for row in rows.tolist()}) > 50  # and not always in the same order


def test_factors_are_those_of_the_labels_and_hide_nothing_of_the_class(shapes):
    factors = Shapes(num_train=6000).factors("pretrain")
    labels = Shapes(num_train=6000)._draws("train")[0]
    assert all(values.dtype == np.int64 and values.shape == (6000,) for values in factors.values())
    names = [
        f"{('striped', 'checked')[texture]} {('disc', 'square', 'triangle', 'cross', 'ring')[shape]}"
        for shape, texture in zip(factors["shape"], factors["texture"], strict=True)
    ]
    assert names == [shapes.class_names[label] for label in labels]
    for name, values in factors.items():
        steps = values.max() + 1
        counts = np.bincount(values, minlength=steps)
        assert counts.min() > 0.8 * 6000 / steps, name  # evenly drawn
        if name not in ("shape", "texture"):
            together = np.zeros((10, steps))
            np.add.at(together, (labels, values), 1)
            expected = 600 * counts / 6000
            chi2 = ((together - expected) ** 2 / expected).sum()
            freedom = 9 * (steps - 1)
            assert chi2 < freedom + 5 * math.sqrt(2 * freedom), name  # independent of the class


def test_outlines_have_one_area_and_are_distances():
    ticks = (np.arange(1200) + 0.5) / 200 - 3
    x, y = np.meshgrid(ticks, ticks)
    for name, outline in _OUTLINES.items():
        inside = outline(x, y) < 0
        assert inside.mean() * 36 == pytest.approx(4, rel=0.01), name
        # As steep as a distance, but where two sides meet: edges are one pixel wide, not more and not less.
        slope = np.hypot(*np.gradient(outline(x, y), 1 / 200))
        assert np.quantile(slope, 0.01) > 0.99, name
        assert np.quantile(slope, 0.99) < 1.01, name


def test_a_draw_says_what_is_in_the_picture():
    """Set one number at a time and look."""

    def image(label=0, size=64, **draws):
        named = named_draws(np.full((1, NUM_DRAWS), 0.5, dtype=np.float32))
        for name, value in draws.items():
            named[name] = np.full((1,), value, dtype=np.float32)
        return draw_images(np.array([label]), named, size)[0].astype(float) / 255

    plain = image(label=2, polarity=0)
    luma = np.tensordot([0.299, 0.587, 0.114], plain, 1)
    # Light on dark; one cell lies in the middle, and the corner of four of them is background.
    assert luma[50:54, 50:54].mean() < 0.3 < luma[28:36, 28:36].mean()
    # Dark on light is the negative in brightness, with the same colours.
    inverse = np.tensordot([0.299, 0.587, 0.114], image(label=2, polarity=0.9), 1)
    np.testing.assert_allclose(luma + inverse, 1, atol=0.12)
    assert np.abs(luma + inverse - 1).mean() < 0.03
    # Hue alone changes no brightness.
    other = np.tensordot([0.299, 0.587, 0.114], image(label=2, polarity=0, hue=0.1), 1)
    assert np.abs(other - luma).mean() < 0.03
    assert np.abs(image(label=2, polarity=0, hue=0.1) - plain).mean() > 0.1
    for name in ("x", "y", "scale", "slant", "rotation", "background", "texture_angle", "texture_period", "tone"):
        assert np.abs(image(label=2, **{name: 0.05}) - image(label=2)).mean() > 0.005, name
    pictures = [image(label=label) for label in range(10)]
    assert min(np.abs(a - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]) > 0.02


def test_sizes_show_the_same_picture():
    small, large = (Shapes(image_size=size, num_train=40).table("train").float() for size in (32, 128))
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (shrunk - small).abs().mean() < 8


def test_raw_pixels_say_little_about_the_class():
    """The promise of the set: the nearest neighbours of the raw pixels are near chance."""
    data = Shapes(num_train=6000, num_test=500)
    train, test = (torch.nn.functional.normalize(data.table(n).flatten(1).float()) for n in ("train", "test"))
    similarity, nearest = (test @ train.T).topk(200)
    votes = torch.zeros(500, 10)
    labels = torch.from_numpy(data.split("train").labels)[nearest]
    votes.scatter_add_(1, labels, (similarity / 0.07).exp())
    accuracy = (votes.argmax(1).numpy() == data.split("test").labels).mean()
    assert accuracy < 0.2


def test_the_fingerprint_follows_from_the_options(shapes):
    fingerprint = shapes.split("train").fingerprint()
    assert Shapes(num_train=600).split("train").fingerprint() == fingerprint
    others = [
        Shapes(num_train=601).split("train"),
        Shapes(num_train=600, seed=1).split("train"),
        Shapes(num_train=600, image_size=16).split("train"),
        Shapes(num_test=600).split("test"),
    ]
    assert len({fingerprint, *(other.fingerprint() for other in others)}) == 5
    again = pickle.loads(pickle.dumps(shapes.split("validation")))
    assert torch.equal(again.images, shapes.table("validation"))
