from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from sslkit import BadImageError, DataError
from sslkit.builtin.data.image_folder import ImageFolder


def draw(root, *paths, size=(6, 4)):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(root / path)


def labels_by_path(files):
    return {files.path(index): files[index][1] for index in range(len(files))}


def test_splits_with_class_folders(tmp_path):
    draw(tmp_path, "train/dog/b.png", "train/cat/a.png", "train/cat/deep/c.png", "test/dog/d.png", "val/cat/e.png")
    data = ImageFolder(tmp_path)
    assert (data.num_classes, data.class_names) == (2, ["cat", "dog"])
    train = data.split("train")
    assert labels_by_path(train) == {"cat/a.png": 0, "cat/deep/c.png": 0, "dog/b.png": 1}
    assert labels_by_path(data.split("pretrain")) == labels_by_path(train)
    # A class that the test split lacks must not move the numbers of the others.
    assert labels_by_path(data.split("test")) == {"dog/d.png": 1}
    assert labels_by_path(data.split("validation")) == {"cat/e.png": 0}
    assert train.labels.dtype == np.int64
    assert train.labels.tolist() == [0, 0, 1]
    image, label = train[-1]
    assert (image.size, image.mode, label) == ((6, 4), "RGB", 1)
    assert train.describe(0) == str(tmp_path / "train/cat/a.png")
    with pytest.raises(IndexError):
        train[3]


def test_a_plain_folder_is_the_train_split(tmp_path):
    draw(tmp_path, "b.png", "x/a.png")
    data = ImageFolder(tmp_path)
    assert (data.num_classes, data.class_names) == (None, None)
    assert labels_by_path(data.split("pretrain")) == {"b.png": -1, "x/a.png": -1}
    with pytest.raises(DataError, match=r'no test split; set `test = "\.\.\."`.* there: x'):
        data.split("test")


def test_class_folders_without_splits(tmp_path):
    draw(tmp_path, "n02/a.png", "n01/b.png")
    assert labels_by_path(ImageFolder(tmp_path).split("train")) == {"n01/b.png": 0, "n02/a.png": 1}


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["a/1.png", "b/1.png"], ["a", "b"]),
        (["a/1.png", "a/2.png"], None),  # one folder separates nothing
        (["a/1.png", "b/1.png", "2.png"], None),
        (["1.png"], None),
    ],
)
def test_auto_takes_folders_for_classes_only_where_they_can_be(tmp_path, paths, classes):
    draw(tmp_path, *[f"train/{path}" for path in paths])
    assert ImageFolder(tmp_path).class_names == classes
    assert ImageFolder(tmp_path, labels="none").class_names is None
    if any("/" not in path for path in paths):
        with pytest.raises(DataError, match=r'\.png: lies in no class folder.*`labels = "none"`'):
            ImageFolder(tmp_path, labels="folders")
    else:
        names = sorted({path[0] for path in paths})
        assert ImageFolder(tmp_path, labels="folders").class_names == names


def test_an_unknown_test_class_is_named(tmp_path):
    draw(tmp_path, "train/horse/a.png", "train/cat/a.png", "test/hors/a.png")
    with pytest.raises(DataError, match=r'test/hors: class \'hors\' is not in the train split; did you mean "horse"\?'):
        ImageFolder(tmp_path).split("test")


def test_the_test_split_falls_back_on_nothing(tmp_path):
    draw(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png")
    with pytest.raises(DataError, match='set `test = "val"`'):
        ImageFolder(tmp_path).split("test")
    assert labels_by_path(ImageFolder(tmp_path, test="val").split("test")) == {"a/2.png": 0}


def test_test_images_are_never_trained_on_by_accident(tmp_path):
    draw(tmp_path, "training/a/1.png", "training/b/1.png", "test/a/2.png")
    with pytest.raises(DataError, match=r"no train split; set .* the folders there: test, training"):
        ImageFolder(tmp_path)
    assert len(ImageFolder(tmp_path, train="training").split("pretrain")) == 2


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="none: no such folder"):
        ImageFolder(tmp_path / "none")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: holds no images"):
        ImageFolder(tmp_path)
    draw(tmp_path, "train/a.png")
    with pytest.raises(DataError, match="no split 'tests'; did you mean \"test\""):
        ImageFolder(tmp_path).split("tests")


def test_a_bad_image_is_named_when_read(tmp_path):
    draw(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    files = ImageFolder(tmp_path, on_bad_image="replace").split("pretrain")
    with pytest.raises(BadImageError, match=r"b\.png: not an image"):
        files[1]


def test_the_fingerprint_knows_path_size_and_label(tmp_path):
    draw(tmp_path / "one", "train/a/1.png", "train/b/2.png")
    train = tmp_path / "one/train"

    def fingerprint():
        return ImageFolder(tmp_path / "one").split("train").fingerprint()

    lines = [f"{path}\0{(train / path).stat().st_size}\0{label}\n" for path, label in (("a/1.png", 0), ("b/2.png", 1))]
    first = fingerprint()
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    draw(tmp_path / "two", "train/a/1.png", "train/b/2.png")
    assert ImageFolder(tmp_path / "two").split("train").fingerprint() == first  # moved, not changed
    (train / "b/2.png").write_bytes((train / "b/2.png").read_bytes() + b"\0")
    second = fingerprint()
    (train / "b/2.png").rename(train / "b/3.png")
    third = fingerprint()
    (train / "b").rename(train / "A")  # sorts first: both labels change
    assert len({first, second, third, fingerprint()}) == 4


def test_files_survive_the_way_to_a_worker(tmp_path):
    draw(tmp_path, "ünï/a.png", "b/b.png")
    files = ImageFolder(tmp_path).split("pretrain")
    again = pickle.loads(pickle.dumps(files))
    assert again.describe(1) == str(tmp_path / "ünï/a.png")
    assert np.asarray(again[1][0]).tolist() == np.asarray(files[1][0]).tolist()
    assert again.fingerprint() == files.fingerprint()


def test_memory_of_many_paths_is_three_arrays(tmp_path):
    draw(tmp_path, *[f"{number:03}.png" for number in range(20)])
    files = ImageFolder(tmp_path).split("pretrain")
    kept = [value for value in vars(files).values() if not isinstance(value, os.PathLike)]
    assert all(isinstance(value, np.ndarray) for value in kept)
