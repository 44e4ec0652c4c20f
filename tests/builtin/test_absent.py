"""What is not there, and may be done without, is told from what is there and broken, or was named and is missing."""

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import (
    AbsentError,
    Arrays,
    DataError,
    FrozenModel,
    ImageFolder,
    ImageList,
    ImageNet,
    Shapes,
    TarShards,
    TorchvisionSets,
    TransferSets,
    has_split,
    training_features,
)
from sslkit.builtin.callbacks.resident import Resident


def draw(root, *paths):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * number, 0, 0)).save(root / path)


@pytest.fixture
def folder(tmp_path):
    draw(tmp_path, *(f"train/{name}/{number}.png" for name in "ab" for number in range(3)))
    return tmp_path


def images(count):
    return np.zeros((count, 16, 16, 3), dtype=np.uint8), np.arange(count) % 2


def test_a_split_that_nobody_named_is_absent(folder):
    (folder / "list.txt").write_text("train/a/0.png\n")
    (folder / "val").mkdir()  # empty: the train split of ImageNet needs no more
    opened = [
        Shapes(num_train=10),
        Arrays.of(train=images(4)),
        ImageFolder(folder / "train"),
        ImageList(folder, train="list.txt"),
        ImageNet(folder),
    ]
    for data in opened:
        assert has_split(data, "train")
        with pytest.raises(AbsentError):
            data.split("held back")
        assert not has_split(data, "held back")
        assert has_split(data, "validation") == isinstance(data, Shapes)


@pytest.mark.parametrize(
    "make",
    [
        ImageFolder,
        ImageNet,
        lambda root: Arrays(root, train="x.npy"),
        lambda root: ImageList(root, train="train.csv"),
        lambda root: TarShards(root, train="*.tar"),
        lambda root: TorchvisionSets(root, dataset="cifar10"),
        lambda root: TorchvisionSets(root, dataset="stl10"),
        lambda root: TorchvisionSets(root, dataset="imagenette"),
        lambda root: TransferSets(root, dataset="cifar100"),
        lambda root: TransferSets(root, dataset="dtd"),
        lambda root: TransferSets(root, dataset="caltech101"),
        lambda root: TransferSets(root, dataset="cars"),
    ],
)
def test_a_set_without_its_folder_is_absent(tmp_path, make):
    with pytest.raises(AbsentError):
        make(tmp_path / "none")


def test_what_an_option_names_must_be_there(folder):
    (folder / "train.txt").write_text("train/a/0.png\n")
    np.save(folder / "x.npy", images(4)[0])
    listed = ImageList(folder, train="train.txt", validation="held.txt")
    named = {
        "held_out: no validation split": lambda: ImageFolder(folder, validation="held_out").split("validation"),
        "held.txt: no such list": lambda: listed.split("validation"),
        "held.npy: no such file": lambda: Arrays(folder, train="x.npy", validation="held.npy"),
        "held.tar: no such shard": lambda: TarShards(folder, train="held.tar"),
    }
    for message, opened in named.items():
        with pytest.raises(DataError, match=message) as caught:
            opened()
        assert not isinstance(caught.value, AbsentError)


def test_a_list_that_a_set_lacks_is_no_absent_split(tmp_path):
    for split in ("train", "val", "test"):
        draw(tmp_path, f"dtd/images/dots/{split}.jpg")
        (tmp_path / "dtd/labels").mkdir(exist_ok=True)
        (tmp_path / f"dtd/labels/{split}1.txt").write_text(f"dots/{split}.jpg\n")
    data = TransferSets(tmp_path, dataset="dtd")
    (tmp_path / "dtd/labels/val1.txt").unlink()
    with pytest.raises(DataError, match=r"val1\.txt: not there, but expected of dtd") as caught:
        has_split(data, "validation")
    assert not isinstance(caught.value, AbsentError)


def test_a_broken_validation_folder_is_not_made_up_for_by_training_images(folder, tiny_network):
    model = FrozenModel(tiny_network(), input_size=16, workers=0)
    assert training_features(model, ImageFolder(folder), 0.4)[1].sum() == 2
    draw(folder, "val/c/0.png")
    data = ImageFolder(folder)
    for used in (
        lambda: training_features(model, data, 0.4),
        lambda: Resident.read(data, 16, 4, None, torch.device("cpu")),
    ):
        with pytest.raises(DataError, match="class 'c' is not in the train split"):
            used()
