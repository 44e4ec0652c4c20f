from __future__ import annotations

import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_plugin
from PIL import Image
from torch.utils.data import DataLoader

from sslkit import BadImageError, CropFlip, DataError, RunError, Shapes
from sslkit.engine.batches import Batches, Source, _prefetch, sample_views
from sslkit.engine.chunks import as_labels
from sslkit.engine.order import Order
from sslkit.engine.prepared_views import PreparedViews

CPU = torch.device("cpu")


class Pictures:
    """A dataset of PIL images, some of them broken."""

    def __init__(self, count=150, broken=()):
        self.count = count
        self.broken = set(broken)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise BadImageError(f"{index}.jpg", "is cut short")
        return Image.fromarray(np.full((8, 8, 3), index, dtype=np.uint8)), index % 3


class Sizes(Pictures):
    def __getitem__(self, index):
        return Image.new("RGB", (8 + index % 2, 8)), -1


class Patches:
    """A generator with `prepare` only: two patches of different sizes at random places."""

    num_views = 2

    def prepare(self, image):
        left, top = np.random.randint(0, 4, size=2)
        noise = torch.randint(0, 50, (3, 4, 4), dtype=torch.uint8)
        return image.crop((left, top, left + 2, top + 2)), noise


def batches_of(dataset, views, *, workers=0, batch_size=70, steps=(0, 4), on_bad_image="raise"):
    order = Order(3, len(dataset), batch_size)
    source = Source(dataset, on_bad_image=on_bad_image)
    return list(Batches(source, views, order, device=CPU, workers=workers).stream(*steps))


def equal(first, second):
    return all(
        torch.equal(a, b)
        for one, other in zip(first, second, strict=True)
        for a, b in zip([*one.groups, *one[1:]], [*other.groups, *other[1:]], strict=True)
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("views", [toy_plugin.Brightness(), PreparedViews(Patches())], ids=["complete", "prepared"])
def test_workers_change_nothing(workers, views):
    assert equal(batches_of(Pictures(), views), batches_of(Pictures(), views, workers=workers))


def test_spawned_workers_change_nothing(monkeypatch):
    alone = batches_of(Pictures(), toy_plugin.Brightness())
    context = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert equal(alone, batches_of(Pictures(), toy_plugin.Brightness(), workers=1))
    finally:
        multiprocessing.set_start_method(context, force=True)


def test_workers_prepare_no_more_than_shared_memory_holds(tmp_path, monkeypatch):
    chunk, workers = 64 * 2 * 3 * 224 * 224, 8
    monkeypatch.setattr("sslkit.engine.batches._SHARED_MEMORY", tmp_path)

    def ahead(free, chunks_per_batch=64):
        monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_bavail=free, f_frsize=1))
        return _prefetch(chunk, chunks_per_batch, workers)

    for free in (10**12, 10**9, 5 * 10**8):
        assert ahead(free) * workers * chunk <= min(2**29, free / 2)
    assert ahead(10**12) > ahead(5 * 10**8) == ahead(10**12, chunks_per_batch=2) == ahead(workers * chunk) == 1
    with pytest.raises(RunError, match=r"8 loader processes need 147 MiB .* start fewer with --workers"):
        ahead(workers * chunk - 1)


def test_a_stream_may_start_anywhere():
    views = toy_plugin.Brightness()
    assert equal(batches_of(Pictures(), views)[2:], batches_of(Pictures(), views, steps=(2, 4)))


def test_a_table_equals_the_loader():
    data = Shapes(image_size=16, num_train=150, num_validation=20, num_test=20)
    views = toy_plugin.Brightness()
    with_table = Source.of(data, views)
    assert with_table.table is not None
    order = Order(3, 150, 70)
    resident = list(Batches(with_table, views, order, device=CPU).stream(0, 4))
    assert equal(resident, batches_of(data.split("pretrain"), views))


def test_batches_hold_the_images_that_the_order_says():
    (batch, *_) = batches_of(Pictures(), toy_plugin.Brightness())
    assert batch.indices.tolist() == Order(3, 150, 70).indices(0).tolist()
    assert torch.equal(batch.groups[0][:, 0, 0, 0, 0].long(), batch.indices)
    assert torch.equal(batch.labels, batch.indices % 3)
    assert batch.draws.shape == (70, 2, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_stops_with_one_line_that_names_it(workers):
    views = toy_plugin.Brightness()
    with pytest.raises(DataError) as caught:
        batches_of(Pictures(broken={7}), views, batch_size=150, steps=(0, 1), workers=workers)
    assert str(caught.value) == '7.jpg: is cut short (or replace such images: on_bad_image = "replace")'


def test_a_bad_image_is_replaced_by_the_same_other_one(caplog):
    broken = Pictures(broken=range(0, 150, 10))
    replaced = batches_of(broken, toy_plugin.Brightness(), on_bad_image="replace", batch_size=150, steps=(0, 2))
    assert not set(replaced[0].indices.tolist()) & broken.broken
    assert torch.equal(replaced[0].groups[0][:, 0, 0, 0, 0].long(), replaced[0].indices)
    again = batches_of(broken, toy_plugin.Brightness(), on_bad_image="replace", batch_size=150, steps=(0, 2), workers=1)
    assert equal(replaced, again)
    assert caplog.text.count("70.jpg") == 2  # once in each of the two runs, not once an epoch


def test_different_sizes_are_refused_with_what_to_do():
    with pytest.raises(DataError, match=r'different sizes.*8 x 8 and 9 x 8.*crop_on = "worker"'):
        batches_of(Sizes(), toy_plugin.Brightness())


def test_a_dataset_whose_split_is_a_word_will_do():
    images = Pictures()
    images.split = "train"
    assert Source.of(images, toy_plugin.Brightness()).dataset is images


def test_no_image_is_refused():
    with pytest.raises(DataError, match="no image to pretrain on"):
        Source.of(Pictures(0), toy_plugin.Brightness())


def test_prepared_views_are_repeatable_differ_and_keep_their_sizes():
    views = PreparedViews(Patches())
    first = sample_views(Source(Pictures()), views, 0, [1, 2, 3])
    again = sample_views(Source(Pictures()), views, 0, [3, 2, 1])
    assert [tuple(view.shape) for view in first] == [(3, 3, 2, 2), (3, 3, 4, 4)]
    assert torch.equal(first[1], again[1].flip(0))
    assert not torch.equal(first[1][0], first[1][1])


def test_a_wrong_number_of_views_is_told():
    views = PreparedViews(Patches())
    views.num_views = 3
    with pytest.raises(DataError, match="set num_views = 2"):
        sample_views(Source(Pictures()), views, 0, [1])


def test_a_generator_whose_number_of_sizes_depends_on_the_image_is_told_so():
    class Fickle:
        num_views = 2

        def draw(self, keys):
            return np.zeros((len(keys), 2, 1), np.float32)

        def prepare(self, image, draws):
            small = image[None, :, :4, :4]
            return (small,) if image[0, 0, 0] < 3 else (small, image[None, :, :8, :8])

    images = [(torch.full((3, 16, 16), number, dtype=torch.uint8), -1) for number in range(8)]
    with pytest.raises(DataError, match="views of one image come in 1 sizes, of another in 2"):
        sample_views(Source(images), Fickle(), 0, range(8))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32])
def test_labels_of_any_integer_are_int64_and_several_to_an_image_int8(kind):
    assert as_labels([kind(3), kind(0)]).dtype == as_labels(np.array([3, 0], dtype=kind)).dtype == torch.int64
    assert as_labels([np.array([1, 0], dtype=kind)]).dtype == torch.int8
    assert as_labels([]).tolist() == []


def test_prepared_views_of_several_sizes_keep_their_order():
    class Pyramid:
        num_views = 4

        def prepare(self, image):
            return [image[:, :size, :size] + number for number, size in enumerate((8, 4, 8, 4))]

    images = [(torch.full((3, 16, 16), 10 * number, dtype=torch.uint8), -1) for number in range(3)]
    views = sample_views(Source(images), PreparedViews(Pyramid()), 0, range(3))
    assert [view.shape[-1] for view in views] == [8, 4, 8, 4]
    expected = [[10 * image + number for image in range(3)] for number in range(4)]
    assert [(view[:, 0, 0, 0] * 255).round().int().tolist() for view in views] == expected


@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_images_as_floats_make_the_views_of_the_same_bytes(crop_on):
    pixels = torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8)
    views = CropFlip(image_size=8, crop_on=crop_on)
    found = [
        sample_views(Source([(image, -1) for image in images]), views, 0, range(4))
        for images in (pixels, pixels.float() / 255)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.linspace(-2.1, 2.6, 768).view(3, 16, 16), r"float32 from -2.1 to 2.6; .*leave normalisation to"),
        (torch.arange(768).view(3, 16, 16) % 256, "int64 from 0 to 255; give uint8"),
        (torch.full((3, 16, 16), 255.0), "float32 from 255 to 255"),
        (torch.full((3, 16, 16), float("nan")), "float32 from nan to nan"),
    ],
)
def test_numbers_that_are_no_pixels_are_refused(image, said):
    class Whole:
        num_views = 2

        def prepare(self, image):
            return [image, image]

    for views in (PreparedViews(Whole()), CropFlip(image_size=8)):
        with pytest.raises(DataError, match=said):
            sample_views(Source([(image, -1)] * 2), views, 0, range(2))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            [Image.new("RGB", (16, 16))] * 2,
            "item 0 of the data set is of type Image; it should be a pair",
        ),
        ([(Image.new("RGB", (16, 16)), "cat")] * 2, "labels should be whole numbers, -1 for none, but one is 'cat'"),
        ([(Image.new("RGB", (16, 16)), None)] * 2, "labels should be whole numbers, -1 for none, but one is 'None'"),
        ([(Image.new("RGB", (16, 16)), 0.5)] * 2, "labels should be whole numbers, -1 for none, but one is '0.5'"),
        (
            [(Image.new(mode, (16, 16)), 0) for mode in ("L", "RGB")],
            "images of 1 and of 3 channels cannot",
        ),
    ],
)
def test_items_of_a_data_set_that_are_no_images_with_labels_are_named(items, said):
    with pytest.raises(DataError, match=said):
        sample_views(Source(items), CropFlip(image_size=8), 0, range(2))


def test_what_is_no_data_set_is_named():
    with pytest.raises(DataError, match=r"/photos is the name of a folder; open it: sslkit.ImageFolder\('/photos'\)"):
        Source.of("/photos", CropFlip(image_size=8))
    with pytest.raises(DataError, match=r"a DataLoader has batches already; give its dataset: loader\.dataset"):
        Source.of(DataLoader([1]), CropFlip(image_size=8))
