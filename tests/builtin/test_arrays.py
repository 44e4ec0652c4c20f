from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit import Arrays, DataError
from sslkit.builtin.data import arrays as module


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        ((5, 8, 6), "auto", None),
        ((5, 8, 6, 3), "auto", (0, 3, 1, 2)),
        ((5, 4, 8, 6), "auto", (0, 1, 2, 3)),
        ((5, 8, 6, 13), "NHWC", (0, 3, 1, 2)),
        ((5, 13, 8, 6), "NCHW", (0, 1, 2, 3)),
        ((5, 3, 3, 3), "NHWC", (0, 3, 1, 2)),
    ],
)
def test_no_channel_is_dropped_in_any_layout(tmp_path, shape, layout, axes):
    images = random_images(*shape)
    save(tmp_path, x=images)
    expected = torch.from_numpy(images[:, None] if axes is None else images.transpose(axes).copy())
    for data in (Arrays(tmp_path, train="x.npy", layout=layout), Arrays.of(train=images, layout=layout)):
        dataset = data.split("pretrain")
        assert torch.equal(torch.stack([dataset[index][0] for index in range(5)]), expected)
        assert torch.equal(data.table("pretrain"), expected)
        assert dataset[0][0].is_contiguous()
        assert data.table("pretrain").is_contiguous()
        assert (dataset[3][1], data.num_classes, data.class_names) == (-1, None, None)


@pytest.mark.parametrize("shape", [(5, 13, 8, 8), (5, 3, 8, 3), (5, 8, 8, 13)])
def test_channels_that_could_be_anywhere_are_asked_for(tmp_path, shape):
    save(tmp_path, x=random_images(*shape))
    with pytest.raises(DataError, match=r'x\.npy: shape .* does not tell .* `layout = "NHWC"` or `layout = "NCHW"`'):
        Arrays(tmp_path, train="x.npy")


def test_labels_and_splits(tmp_path):
    images = random_images(6, 5, 5, 3)
    save(tmp_path, x=images, y=np.array([2, 0, 2, -1, 1, 0], dtype=np.int8), z=images[:2], w=np.array([1, 3]))
    data = Arrays(tmp_path, train="x.npy", train_labels="y.npy", test="z.npy")
    assert (data.num_classes, data.class_names) == (3, ["0", "1", "2"])
    assert [label for _, label in (data.split("train")[index] for index in range(6))] == [2, 0, 2, -1, 1, 0]
    assert data.split("train").labels.dtype == np.int64
    assert data.split("test").labels.tolist() == [-1, -1]
    assert data.split("test").describe(1) == f"{tmp_path}/z.npy[1]"
    with pytest.raises(DataError, match="no validation split, only train, test$"):
        data.split("validation")
    with pytest.raises(DataError, match='no tset split, only train, test; did you mean "test"'):
        data.table("tset")
    with pytest.raises(DataError, match=r"z\.npy\[1\]: label 3, but classes are 0 to 2"):
        Arrays(tmp_path, train="x.npy", train_labels="y.npy", test="z.npy", test_labels="w.npy")
    names = ["a", "b", "c", "d"]
    named = Arrays(tmp_path, train="x.npy", train_labels="y.npy", test="z.npy", test_labels="w.npy", class_names=names)
    assert (named.num_classes, named.class_names) == (4, names)
    with pytest.raises(DataError, match=r"w\.npy: 2 labels for 6 images"):
        Arrays(tmp_path, train="x.npy", train_labels="w.npy")


def test_splits_of_other_channels_and_classes_of_one_name_are_refused(tmp_path):
    save(tmp_path, x=random_images(4, 8, 8, 3), y=np.array([0, 1, 0, 1]), four=random_images(4, 8, 8, 4))
    with pytest.raises(DataError, match=r"four\.npy\[0\]: 4 channels, but train images have 3"):
        Arrays(tmp_path, train="x.npy", test="four.npy")
    with pytest.raises(DataError, match="class_names has 'a' twice"):
        Arrays(tmp_path, train="x.npy", train_labels="y.npy", class_names=["a", "a"])


def test_python_arrays_and_tensors(tmp_path):
    images = torch.from_numpy(random_images(4, 3, 5, 5))
    data = Arrays.of(train=(images, torch.tensor([0, 1, 0, 1])), test=(images[:2].numpy(), [1, 0]), class_names="ab")
    assert data.class_names == ["a", "b"]
    assert data.table("train").data_ptr() == images.data_ptr()  # not copied
    assert data.split("test")[0][1] == 1
    assert data.split("test").describe(1) == "test[1]"
    again = pickle.loads(pickle.dumps(data.split("train")))
    assert again.fingerprint() == data.split("train").fingerprint()
    with pytest.raises(DataError, match="train labels: 3 labels for 4 images"):
        Arrays.of(train=(images, [0, 1, 0]))
    with pytest.raises(DataError, match=r"test\[0\]: label 1, but the train split has no labels"):
        Arrays.of(train=images, test=(images, [1, 0, 0, 0]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), r"float32, not uint8; save \(images \* 255\)\.round\(\) as numpy\.uint8"),
        (np.zeros((2, 3, 4, 4), np.uint16), "uint16, not uint8; save images, scaled to 0 to 255, as"),
        (np.zeros((2, 4), np.uint8), r"shape \(2, 4\), not \[n, H, W\]"),
        (np.zeros((0, 4, 4), np.uint8), r"shape \(0, 1, 4, 4\) holds no pixel"),
        (np.array([{}]), "not read as .npy: "),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    save(tmp_path, x=array)
    with pytest.raises(DataError, match=rf"x\.npy: {message}") as caught:
        Arrays(tmp_path, train="x.npy")
    assert "\n" not in str(caught.value)
    if array.dtype != object:
        with pytest.raises(DataError, match=f"train: {message}"):
            Arrays.of(train=array)


def test_damaged_and_missing_files_are_named(tmp_path):
    save(tmp_path, x=random_images(4, 8, 8, 3), f=np.zeros(4), b=np.zeros(4, bool), m=np.zeros((4, 2), int))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    np.savez(tmp_path / "z.npz", x=np.zeros(1))
    for name, message in {"cut.npy": "not read as", "z.npz": "an archive", "none.npy": "no such file"}.items():
        with pytest.raises(DataError, match=f"{name}: {message}"):
            Arrays(tmp_path, train=name)
    for name in "fbm":
        with pytest.raises(DataError, match=rf"{name}\.npy: .* not one whole number per image"):
            Arrays(tmp_path, train="x.npy", train_labels=f"{name}.npy")
    with pytest.raises(DataError, match="test_labels without test"):
        Arrays(tmp_path, train="x.npy", test_labels="f.npy")


def test_a_pickle_in_the_place_of_an_array_is_never_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    (tmp_path / "x.npy").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match=r"x\.npy: not read as \.npy: no array, or one of Python objects"):
        Arrays(tmp_path, train="x.npy")
    assert not (tmp_path / "canary").exists()


def test_a_worker_gets_the_path_and_not_the_pixels(tmp_path):
    save(tmp_path, x=random_images(50, 32, 32, 3), y=np.arange(50))
    images = Arrays(tmp_path, train="x.npy", train_labels="y.npy").split("train")
    carried = pickle.dumps(images)
    assert len(carried) < 2000
    again = pickle.loads(carried)
    assert torch.equal(again[7][0], images[7][0])
    assert again.fingerprint() == images.fingerprint()
    assert isinstance(again._images.base, np.memmap)  # mapped, not read


def test_a_large_split_has_no_table(tmp_path, monkeypatch):
    images = random_images(4, 8, 8, 3)
    save(tmp_path, x=images)
    monkeypatch.setattr(module, "_TABLE_BYTES", images.nbytes)
    assert Arrays(tmp_path, train="x.npy").table("train") is not None
    assert Arrays.of(train=images).table("train") is not None
    monkeypatch.setattr(module, "_TABLE_BYTES", images.nbytes - 1)
    assert Arrays(tmp_path, train="x.npy").table("train") is None
    assert Arrays.of(train=images).table("train") is None


def test_items_are_the_reader_s_own(tmp_path):
    save(tmp_path, x=random_images(2, 8, 8, 3))
    images = Arrays(tmp_path, train="x.npy").split("train")
    before = images[0][0].clone()
    images[0][0].zero_()
    assert torch.equal(images[0][0], before)


def test_the_fingerprint_follows_pixels_labels_and_shape(tmp_path):
    images, labels = random_images(6, 5, 8, 3), np.arange(6)

    def fingerprint(images, labels):
        save(tmp_path, x=images, y=labels)
        return Arrays(tmp_path, train="x.npy", train_labels="y.npy").split("train").fingerprint()

    changed = images.copy()
    changed[5, 0, 0, 0] ^= 1
    seen = [
        fingerprint(images, labels),
        fingerprint(changed, labels),
        fingerprint(images, labels[::-1]),
        fingerprint(images.reshape(6, 8, 5, 3), labels),
    ]
    assert len(set(seen)) == 4
    assert fingerprint(images, labels) == seen[0]
