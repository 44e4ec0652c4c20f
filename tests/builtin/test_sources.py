"""The same images from a folder, a list, tar files and arrays: the same batches, and each is trained on and scored."""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Arrays, ImageFolder, ImageList, TarShards, run
from sslkit.engine.batches import Batches, Source
from sslkit.engine.order import Order

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))  # toy_plugin is a module of the tests as well as a plugin file

import toy_plugin  # noqa: E402

RECIPE = f"""
schema = 1
name = "sources"
plugins = ['{TESTS / "toy_plugin.py"}']
[pretrain]
epochs = 1
batch_size = 8
[pretrain.views]
name = "local.brightness"
[pretrain.backbone]
name = "builtin.timm"
model = "test_resnet"
[pretrain.head]
name = "local.linear"
[pretrain.objective]
name = "local.agreement"
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.1
[[evaluate]]
name = "builtin.knn"
k = 3
[pretrain.data]
"""


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder of 20 training and 10 test images in two classes, and the same as lists, tar files and arrays."""
    root = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        images, labels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.repeat([0, 1], count // 2)
        lines = []
        with tarfile.open(root / f"{split}-0.tar", "w") as first, tarfile.open(root / f"{split}-1.tar", "w") as second:
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                name = f"{split}/{'ab'[label]}/{number:03}.png"
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
                lines.append(f"{name},{'ab'[label]}\n")
                tar = first if number < count // 3 else second
                add(tar, f"{number:03}.png", path.read_bytes())
                add(tar, f"{number:03}.cls", str(label).encode())
        (root / f"{split}.csv").write_text("".join(lines))
        np.save(root / f"{split}.npy", images)
        np.save(root / f"{split}_labels.npy", labels)
    return root


SOURCES = {
    "image_folder": (ImageFolder, {}),
    "image_list": (ImageList, {"train": "train.csv", "test": "test.csv"}),
    "tar_shards": (TarShards, {"train": "train-{0..1}.tar", "test": ["test-0.tar", "test-1.tar"]}),
    "arrays": (
        Arrays,
        {f"{split}{part}": f"{split}{part}.npy" for split in ("train", "test") for part in ("", "_labels")},
    ),
}


def batches_of(dataset, workers=0):
    order = Order(3, len(dataset), 8)
    stream = Batches(Source(dataset), toy_plugin.Brightness(), order, device=torch.device("cpu"), workers=workers)
    return [[*batch.groups, *batch[1:]] for batch in stream.stream(0, 5)]


def same(first, second):
    return all(
        torch.equal(one, other)
        for batch, others in zip(first, second, strict=True)
        for one, other in zip(batch, others, strict=True)
    )


@pytest.fixture(scope="module")
def expected(places):
    return batches_of(ImageFolder(places).split("pretrain"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same_batches(places, expected, name, workers):
    source, options = SOURCES[name]
    assert same(batches_of(source(places, **options).split("pretrain"), workers), expected)


@pytest.mark.parametrize("name", ["tar_shards", "arrays"])
def test_spawned_workers_give_the_same_batches(places, expected, name):
    source, options = SOURCES[name]
    dataset = source(places, **options).split("pretrain")
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert same(batches_of(dataset, workers=1), expected)
    finally:
        multiprocessing.set_start_method(method, force=True)


def test_a_recipe_trains_and_scores_the_same_from_every_source(places, tmp_path):
    weights, scores = set(), set()
    for name, (_, options) in SOURCES.items():
        table = [f'name = "builtin.{name}"', *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
        (tmp_path / "recipe.toml").write_text(RECIPE + "\n".join(table))
        done = run(tmp_path / "recipe.toml", data_root=places, into=tmp_path / name, workers=0)
        (result,) = done.results
        assert result.outcome.metrics["n"] == 10
        scores.add(result.outcome.metrics["top1"])
        weights.add((tmp_path / name / "backbone.safetensors").read_bytes())
    assert len(scores) == len(weights) == 1
