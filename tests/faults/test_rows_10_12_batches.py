"""Rows 10 to 12: other numbers of ranks or workers, or a stop in between, change neither order nor views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toy_plugin
from PIL import Image

from sslkit import BadImageError, Shapes
from sslkit.engine import batches as batches_module
from sslkit.engine.batches import Batches, Source
from sslkit.engine.order import Order
from sslkit.engine.prepared_views import PreparedViews

BATCH, IMAGES = 84, 200  # a rank's share of 84 is no whole number of chunks, on 1 to 4 ranks


class Pictures:
    """PIL images of one colour each, a few of them broken."""

    def __init__(self, broken=()):
        self.broken = set(broken)

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        if index in self.broken:
            raise BadImageError(f"{index}.jpg", "is cut short")
        return Image.fromarray(np.full((8, 8, 3), index, dtype=np.uint8)), index % 3


class Patches:
    """A generator with `prepare` only, whose randomness the engine seeds."""

    num_views = 2

    def prepare(self, image):
        left, top = np.random.randint(0, 4, size=2)
        return image.crop((left, top, left + 2, top + 2)), torch.randint(0, 50, (3, 4, 4), dtype=torch.uint8)


SOURCES = {
    "loader": lambda: (Source(Pictures()), toy_plugin.Brightness()),
    "prepare only": lambda: (Source(Pictures()), PreparedViews(Patches())),
    "replaced": lambda: (Source(Pictures(range(0, IMAGES, 9)), on_bad_image="replace"), toy_plugin.Brightness()),
    "table": lambda: (
        Source.of(Shapes(image_size=16, num_train=IMAGES), toy_plugin.Brightness()),
        toy_plugin.Brightness(),
    ),
}


@pytest.fixture
def stream(monkeypatch):
    """Return a function that gives the batches of one simulated rank, what its views look like included."""

    def of_rank(kind, *, rank=0, size=1, workers=0, steps=(0, 5)):
        monkeypatch.setattr(batches_module, "rank", lambda: rank)
        monkeypatch.setattr(batches_module, "world_size", lambda: size)
        source, views = SOURCES[kind]()
        order = Order(7, IMAGES, BATCH)
        batches = Batches(source, views, order, device=torch.device("cpu"), workers=workers)
        return [[*raw.groups, *raw[1:], *views.apply(raw.groups, raw.draws)] for raw in batches.stream(*steps)]

    return of_rank


def same(first, second):
    assert len(first) == len(second)
    pairs = [pair for one, other in zip(first, second, strict=True) for pair in zip(one, other, strict=True)]
    return all(torch.equal(one, other) for one, other in pairs)


def dealt_back(ranks):
    """Put the batches of all ranks together again: row p of the global batch is row p // W of rank p % W."""
    steps = zip(*ranks, strict=True)
    return [[torch.stack(parts, dim=1).flatten(0, 1) for parts in zip(*at_step, strict=True)] for at_step in steps]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", SOURCES)
def test_row_10_any_number_of_ranks_sees_the_same_global_batches_keys_and_views(stream, kind, size):
    parts = [stream(kind, rank=rank, size=size) for rank in range(size)]
    assert same(dealt_back(parts), stream(kind))


def test_row_10_every_image_comes_once_an_epoch_on_any_number_of_ranks(stream):
    for size in (1, 3):
        parts = [stream("loader", rank=rank, size=size, steps=(0, IMAGES // BATCH)) for rank in range(size)]
        seen = torch.cat([indices for part in parts for _, _, _, indices, *_ in part]).tolist()
        assert len(seen) == len(set(seen)) == IMAGES // BATCH * BATCH


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "table"])
def test_row_11_the_number_of_loader_processes_changes_nothing_on_any_rank(stream, kind):
    for rank, size in ((0, 1), (1, 2)):
        alone = stream(kind, rank=rank, size=size)
        assert same(alone, stream(kind, rank=rank, size=size, workers=1))
        assert same(alone, stream(kind, rank=rank, size=size, workers=2))


@pytest.mark.parametrize("kind", SOURCES)
def test_row_12_after_a_stop_anywhere_the_views_are_the_same(stream, kind):
    whole = stream(kind)
    for step in range(1, 5):
        assert same(whole[step:], stream(kind, steps=(step, 5)))


def test_row_12_a_stop_with_3_ranks_goes_on_with_2_and_other_loader_processes(stream):
    first = dealt_back([stream("prepare only", rank=rank, size=3, workers=1, steps=(0, 3)) for rank in range(3)])
    rest = dealt_back([stream("prepare only", rank=rank, size=2, workers=2, steps=(3, 5)) for rank in range(2)])
    assert same([*first, *rest], stream("prepare only"))


def test_row_12_views_differ_from_epoch_to_epoch(stream):
    first, second = (step for epoch in (0, 1) for step in stream("prepare only", steps=(2 * epoch, 2 * epoch + 1)))
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))
