import hashlib
import os
import shutil
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from sslkit import AbsentError, DataError, ImageNet
from sslkit.builtin.data.imagenet import imagenet_subset


@pytest.mark.parametrize(
    ("which", "count", "digest"),
    [
        ("1%", 12_811, "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17"),
        ("10%", 128_116, "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091"),
    ],
)
def test_the_shipped_lists_are_the_published_ones(which, count, digest):
    names = imagenet_subset(which)
    assert len(names) == len(set(names)) == count
    assert len({name.partition("_")[0] for name in names}) == 1000
    assert hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest() == digest
    sources = resources.files("sslkit.builtin.data.splits").joinpath("SOURCES.md").read_text()
    assert digest in sources
    assert f"{count:,}" in sources


def test_the_smaller_list_is_part_of_the_larger():
    assert set(imagenet_subset("1%")) < set(imagenet_subset("10%"))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Return a folder with the 1 % of the training images, one more of each of two classes, and two of `val/`."""
    root = tmp_path_factory.mktemp("imagenet")
    image = root / "image.JPEG"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(image)
    names = imagenet_subset("1%")
    for wnid in {name.partition("_")[0] for name in names}:
        (root / "train" / wnid).mkdir(parents=True)
    for name in names:
        os.link(image, root / "train" / name.partition("_")[0] / name)
    for wnid, name in (("n01440764", "n01440764_0.JPEG"), ("n01443537", "n01443537_0.JPEG")):
        shutil.copy(image, root / "train" / wnid / name)
        (root / "val" / wnid).mkdir(parents=True)
        shutil.copy(image, root / "val" / wnid / f"ILSVRC2012_val_{wnid[1:]}.JPEG")
    return root


def test_the_train_split_is_the_subset_and_pretraining_sees_all(imagenet):
    data = ImageNet(imagenet, train_labels="1%")
    train, pretrain, test = (data.split(name) for name in ("train", "pretrain", "test"))
    assert (data.num_classes, len(train), len(pretrain), len(test)) == (1000, 12_811, 12_813, 2)
    assert {train.path(index).partition("/")[2] for index in range(len(train))} == set(imagenet_subset("1%"))
    for files in (train, pretrain, test):
        for index in (0, len(files) - 1):
            assert data.class_names[files.labels[index]] == files.path(index).partition("/")[0]
    assert train[0][0].size == (8, 8)
    assert len(ImageNet(imagenet).split("train")) == 12_813


def test_images_of_the_list_that_are_missing_are_counted_and_the_first_named(imagenet):
    with pytest.raises(DataError, match=r"train/n01440764/n01440764_\d+\.JPEG: not there, .* 115,305 of the 128,116"):
        ImageNet(imagenet, train_labels="10%").split("train")


def test_what_is_not_there_is_said_at_once(imagenet, tmp_path):
    with pytest.raises(DataError, match=r"train: not there.*sslkit data fetch imagenet"):
        ImageNet(tmp_path)
    with pytest.raises(AbsentError, match=r"val/ is the test split"):
        ImageNet(imagenet).split("validation")
    shutil.copytree(imagenet / "train", tmp_path / "train")
    with pytest.raises(AbsentError, match=r"val: not there.*sslkit data fetch imagenet"):
        ImageNet(tmp_path).split("test")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    with pytest.raises(DataError, match=r"val: has no class folders, .*; sort its images into val/<wnid>/"):
        ImageNet(tmp_path).split("test")
