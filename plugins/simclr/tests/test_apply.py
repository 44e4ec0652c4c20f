"""What the engine relies on: no waiting for the device, and the same bits for any batch, worker, chunk and thread."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from PIL import Image
from sslkit_simclr import TwoCrops
from sslkit_simclr.operations import tiles
from view_samples import (
    EVERYTHING,
    EXTRAS,
    FROM_HOST,
    SEMANTICS,
    WAITING,
    Counter,
    close,
    keys,
    prepared,
    smooth_images,
)

from sslkit import ImageFolder
from sslkit.engine import batches
from sslkit.engine.order import Order

CPU = torch.device("cpu")
CASES = [{}, {"semantics": "torchvision"}, *({f"{name}_probability": 0.5} for name in EXTRAS)]

STEPPED = {"equalize_probability", "solarize_probability", "motion_blur_probability"}
"""Of operations that turn a difference in the last bit into a great one."""


@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("options", CASES)
def test_apply_never_waits_for_the_device(options, crop_on):
    views = TwoCrops(image_size=32, crop_on=crop_on, **options)
    seen = []
    for epoch in range(2):
        groups, draws = prepared(views, smooth_images(6, 36, 36), views.draw(keys(6, epoch)))
        with Counter() as counter:
            views.apply(groups, draws)
        assert not (WAITING | FROM_HOST) & set(counter.seen)
        seen.append(counter.seen)
    assert seen[0] == seen[1]  # nor depends on what was drawn


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_apply_never_waits_for_a_real_device(options, crop_on):
    views = TwoCrops(image_size=32, crop_on=crop_on, **options)
    groups, draws = prepared(views, smooth_images(6, 36, 36), views.draw(keys(6)))
    expected = views.apply(groups, draws)
    on_device = [group.cuda() for group in groups], draws.cuda()
    views.apply(*on_device)  # libraries set themselves up
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = views.apply(*on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    if not STEPPED & options.keys():
        for ours, theirs in zip(result, expected, strict=True):
            close(ours.cpu(), theirs)


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        views = TwoCrops(image_size=32, crop_on="device")
        views.apply([smooth_images(2, 32, 32).unsqueeze(1)], torch.from_numpy(views.draw(keys(2))))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("crop_on", ["worker", "device"])
@pytest.mark.parametrize("size", [32, 33, 224])
def test_a_batch_is_its_parts_bit_for_bit(size, crop_on, semantics):
    views = TwoCrops(image_size=size, crop_on=crop_on, semantics=semantics, **EVERYTHING)
    images = smooth_images(6, 60, 52)
    (group,), draws = prepared(views, images, views.draw(keys(6)))
    together = torch.stack(views.apply([group], draws))
    for sizes in ((3, 3), (1, 5), (1, 1, 1, 1, 1, 1)):
        parts = [
            torch.stack(views.apply([some], numbers))
            for some, numbers in zip(group.split(sizes), draws.split(sizes), strict=True)
        ]
        assert torch.equal(torch.cat(parts, dim=1), together)


@pytest.mark.parametrize("crop_on", ["worker", "device"])
def test_a_last_tile_that_overlaps_changes_no_bit(crop_on):
    views = TwoCrops(image_size=32, crop_on=crop_on)
    images = smooth_images(41, 36, 40)  # 82 views: a tile of 64, and 18 that make the next one overlap
    assert list(tiles.tiles(82, 32 * 32, CPU)) == [slice(0, 64), slice(18, 82)]
    (group,), draws = prepared(views, images, views.draw(keys(41)))
    together = torch.stack(views.apply([group], draws))
    first = torch.stack(views.apply([group[:16]], draws[:16]))
    last = torch.stack(views.apply([group[16:]], draws[16:]))
    assert torch.equal(torch.cat([first, last], dim=1), together)


@pytest.fixture
def folder(tmp_path):
    """Forty photographs in two classes."""
    for number, image in enumerate(smooth_images(40, 44, 52)):
        path = tmp_path / "photographs" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return tmp_path / "photographs"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("options", [{}, EVERYTHING | {"auto_augment": "cifar10", "semantics": "torchvision"}])
def test_the_same_views_for_any_workers_and_chunks(folder, options, monkeypatch):
    views = TwoCrops(image_size=32, **options)
    source = batches.Source.of(ImageFolder(folder), views)
    known = None
    for workers, chunk in ((0, 64), (0, 16), (1, 16), (3, 16), (3, 64)):
        monkeypatch.setattr(batches, "CHUNK", chunk)
        stream = batches.Batches(source, views, Order(3, 40, 20), device=CPU, workers=workers).stream(0, 3)
        found = [(batch.indices, *views.apply(batch.groups, batch.draws)) for batch in stream]
        known = known or found
        assert all(
            torch.equal(ours, theirs)
            for one, other in zip(known, found, strict=True)
            for ours, theirs in zip(one, other, strict=True)
        )
    first, second = known[0][1:]
    assert not torch.equal(first, second)


RANK = """
import sys, torch
from sslkit import ImageFolder
from sslkit.engine.batches import Source
from sslkit.engine.chunks import Chunks
from sslkit.engine.order import Order
from sslkit.engine.randomness import sample_keys
from sslkit_simclr import TwoCrops
folder, rank, world, size, out = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
torch.set_num_threads(1)
views = TwoCrops(image_size=size)
source = Source.of(ImageFolder(folder), views)
indices = Order(0, len(source.dataset), 6).indices(1)[rank::world]
chunk = Chunks(source.dataset, views, "raise")[sample_keys(0, 0, indices), indices]
torch.save(torch.stack(views.apply(chunk.groups, chunk.draws)), out)
"""


@pytest.mark.parametrize("size", [32, 224])
def test_ranks_see_the_views_of_the_whole_batch(size, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(smooth_images(12, 40, 50)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:02d}.png")

    def seen(world):
        """Return the views [V, B, ...] of a step, each rank's made in a process of its own."""
        files = [tmp_path / f"{world}_{rank}.pt" for rank in range(world)]
        ranks = [
            subprocess.Popen([sys.executable, "-c", RANK, folder, str(rank), str(world), str(size), file])
            for rank, file in enumerate(files)
        ]
        assert [rank.wait() for rank in ranks] == [0] * world
        parts = [torch.load(file) for file in files]
        return torch.stack(parts, 2).flatten(1, 2)

    alone = seen(1)
    assert alone.shape[:2] == (2, 6)
    assert torch.equal(alone, seen(2))
