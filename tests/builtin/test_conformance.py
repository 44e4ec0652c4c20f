"""What comes with sslkit keeps the promises that plugins have to keep."""

from __future__ import annotations

import io
import pickle
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.testing import plugin_checks

HOME = tempfile.TemporaryDirectory()  # as long as this process: checks are listed before there are fixtures
FOLDER = Path(HOME.name)
RNG = np.random.default_rng(0)
TIMM = {"pretrain": {"backbone": {"name": "builtin.timm", "model": "test_resnet"}}}


def images_in(*places):
    for place in places:
        path = FOLDER / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)


def cifar10():
    folder = FOLDER / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = {"data": RNG.integers(0, 256, (20, 3072), dtype=np.uint8), "labels": [*range(10)] * 2}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def arrays():
    (FOLDER / "arrays").mkdir()
    np.save(FOLDER / "arrays" / "x.npy", RNG.integers(0, 256, (6, 20, 20, 3), dtype=np.uint8))
    np.save(FOLDER / "arrays" / "y.npy", np.arange(6) % 3)


def shard():
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 0, 0)).save(file, "png")
    with tarfile.open(FOLDER / "train.tar", "w") as tar:
        for number in range(4):
            for suffix, content in (("png", file.getvalue()), ("cls", b"%d" % (number % 2))):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


images_in(*(f"folder/{split}/{name}.png" for split in ("train", "test") for name in ("cat/a", "cat/b", "dog/a")))
images_in(*(f"imagenet/{split}/n0144076{n}/n_{n}.JPEG" for split in ("train", "val") for n in range(2)))
(FOLDER / "list.csv").write_text("".join(f"folder/train/{name},{name[:3]}\n" for name in ("cat/a.png", "dog/a.png")))
cifar10()
arrays()
shard()

CHECKS = plugin_checks(
    "builtin",
    options={
        "crop_flip": {"image_size": 32, "num_views": 2},
        "backbone timm": {"model": "test_resnet"},
        "image_folder": {"folder": FOLDER / "folder"},
        "image_list": {"folder": FOLDER, "train": "list.csv"},
        "tar_shards": {"folder": FOLDER, "train": "train.tar"},
        "arrays": {"folder": FOLDER / "arrays", "train": "x.npy", "train_labels": "y.npy"},
        "torchvision_sets": {"folder": FOLDER / "cifar10", "dataset": "cifar10"},
        "transfer_sets": {"folder": FOLDER / "cifar10", "dataset": "cifar10"},
        "imagenet": {"folder": FOLDER / "imagenet"},
        "fine_tune": {"epochs": 1},
    },
    recipes={
        "own_classifier": {
            "evaluate": {"0": {"features": ["z"]}},
            "pretrain": {"head": {"name": "builtin.classifier"}, "objective": {"name": "builtin.cross_entropy"}},
        },
        "exporter timm": TIMM,
        "huggingface_folder": TIMM,
    },
    expected_failures={
        "backbone timm_pretrained: can be built from a recipe": "it needs a model, and its weights from the network"
    },
)


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_conformance(check):
    check()
