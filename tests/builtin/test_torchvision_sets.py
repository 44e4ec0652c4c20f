from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import AbsentError, BadImageError, DataError
from sslkit.builtin.data.arrays_only import load_arrays
from sslkit.builtin.data.class_names import CIFAR10, CIFAR100, IMAGENETTE
from sslkit.builtin.data.torchvision_sets import TorchvisionSets


def random_images(count, side=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8), rng.integers(0, 10, count)


def dump(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=protocol)


def python_cifar10(folder, images, labels, protocol=2, key=str):
    """Write a miniature of the official Python batches, with the last two images as the test split."""
    for index, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        part = slice(2 * index, 2 * index + 2)
        content = {key("data"): images[part].reshape(2, -1), key("labels"): labels[part].tolist()}
        dump(folder / name, content, protocol)


def check_cifar10(data, images, labels):
    assert data.num_classes == 10
    assert data.class_names == CIFAR10
    for name in ("pretrain", "train"):
        assert torch.equal(data.table(name), torch.from_numpy(images[:10]))
        assert data.split(name).labels.tolist() == labels[:10].tolist()
    assert torch.equal(data.table("test"), torch.from_numpy(images[10:]))
    test = data.split("test")
    image, label = test[1]
    assert torch.equal(image, torch.from_numpy(images[11]))
    assert (label, len(test), test.describe(1)) == (labels[11], 2, "cifar10/test[1]")
    assert data.split("test") is test  # read once


@pytest.mark.parametrize(("protocol", "key"), [(0, str), (2, str), (2, str.encode)])
def test_cifar10_python_batches(tmp_path, protocol, key):
    images, labels = random_images(12)
    python_cifar10(tmp_path / "cifar-10-batches-py", images, labels, protocol, key)
    check_cifar10(TorchvisionSets(tmp_path, dataset="cifar10"), images, labels)
    check_cifar10(TorchvisionSets(tmp_path / "cifar-10-batches-py", dataset="cifar10"), images, labels)


def test_python_batches_read_as_torchvision_reads_them(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision.datasets")
    images, labels = random_images(12)
    folder = tmp_path / "cifar-10-batches-py"
    python_cifar10(folder, images, labels)
    dump(folder / "batches.meta", {"label_names": list(CIFAR10)})
    monkeypatch.setattr(torchvision.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    data = TorchvisionSets(tmp_path, dataset="cifar10")
    for name in ("train", "test"):
        theirs = torchvision.CIFAR10(tmp_path, train=name == "train")
        assert theirs.classes == list(data.class_names)
        for index, (image, label) in enumerate(theirs):
            ours, our_label = data.split(name)[index]
            np.testing.assert_array_equal(ours.permute(1, 2, 0).numpy(), np.asarray(image))
            assert our_label == label


def test_cifar10_binary_files(tmp_path):
    images, labels = random_images(12)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for index, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        with (folder / f"{name}.bin").open("wb") as file:
            for image, label in zip(images[2 * index :][:2], labels[2 * index :][:2], strict=True):
                file.write(bytes([label]) + image.tobytes())  # the set's page, word for word
    check_cifar10(TorchvisionSets(tmp_path, dataset="cifar10"), images, labels)
    check_cifar10(TorchvisionSets(folder, dataset="cifar10"), images, labels)
    (folder / "data_batch_3.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(DataError, match=r"data_batch_3\.bin: 3072 bytes.*complete"):
        TorchvisionSets(folder, dataset="cifar10").split("train")
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: no such file"):
        TorchvisionSets(folder, dataset="cifar10").split("train")


def test_cifar10_class_folders_get_the_official_numbers(tmp_path):
    images, _ = random_images(4)
    for split in ("train", "test"):
        for image, name in zip(images, ["truck", "airplane", "dog", "cat"], strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / split / name / "0001.png")
    data = TorchvisionSets(tmp_path, dataset="cifar10")
    # Only 4 of 10 classes are there, in the alphabet's order; truck is 9 all the same.
    assert data.split("train").labels.tolist() == [0, 3, 5, 9]
    assert torch.equal(data.table("train"), torch.from_numpy(images[[1, 3, 2, 0]]))
    assert data.split("test")[3][1] == 9
    assert data.num_classes == 10

    Image.new("RGB", (31, 32)).save(tmp_path / "test/dog/0002.png")
    with pytest.raises(BadImageError, match=r"dog/0002\.png: 31 x 32 pixels"):
        TorchvisionSets(tmp_path, dataset="cifar10").split("test")
    (tmp_path / "train/dog").rename(tmp_path / "train/doge")
    (tmp_path / "test/dog").rename(tmp_path / "test/doge")
    with pytest.raises(DataError, match='train/doge: not a class of this set; did you mean "dog"'):
        TorchvisionSets(tmp_path, dataset="cifar10").split("train")


def test_cifar100_has_fine_labels_in_both_layouts(tmp_path):
    assert len(CIFAR100) == 100
    assert list(CIFAR100) == sorted(CIFAR100)
    images, coarse = random_images(3)
    fine = [99, 0, 41]
    for name in ("train", "test"):
        content = {"data": images.reshape(3, -1), "fine_labels": fine, "coarse_labels": coarse.tolist()}
        dump(tmp_path / "python/cifar-100-python" / name, content)
        folder = tmp_path / "binary/cifar-100-binary"
        folder.mkdir(parents=True, exist_ok=True)
        records = [bytes([coarse[i], fine[i]]) + images[i].tobytes() for i in range(3)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    for layout in ("python", "binary"):
        data = TorchvisionSets(tmp_path / layout, dataset="cifar100")
        assert data.num_classes == 100
        assert data.split("test").labels.tolist() == fine
        assert torch.equal(data.table("train"), torch.from_numpy(images))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    class Nested:
        def __reduce__(self):
            return np.ndarray.__reduce__(np.zeros(1))[0], (io.BytesIO, (0,), b"b")

    images, labels = random_images(12)
    folder = tmp_path / "cifar-10-batches-py"
    for payload in (Payload(), Nested()):
        python_cifar10(folder, images, labels)
        content = {"data": images[:2].reshape(2, -1), "labels": labels[:2].tolist(), "extra": payload}
        dump(folder / "data_batch_2", content)
        with pytest.raises(DataError, match=r"data_batch_2: not read: it asks for"):
            TorchvisionSets(tmp_path, dataset="cifar10").split("train")
    for code in (b"cbuiltins\neval\n(V1+1\ntR.", b"cnumpy\nload\n(Vx\ntR.", b"c_codecs\nencode\n(Vx\nVrot13\ntR."):
        (folder / "data_batch_2").write_bytes(code)
        with pytest.raises(DataError, match="data_batch_2: not read"):
            load_arrays(folder / "data_batch_2")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Payload()))  # the payload does bite where nobody is careful
    assert canary.exists()


def test_damaged_batches_are_named(tmp_path):
    images, labels = random_images(12)
    folder = tmp_path / "cifar-10-batches-py"
    python_cifar10(folder, images, labels)
    good = (folder / "data_batch_2").read_bytes()
    wrong = [
        {"labels": [1, 2]},
        {"data": images[:2].reshape(2, -1), "labels": [1]},
        {"data": images[:2].reshape(2, -1)[:, :-1], "labels": [1, 2]},
        {"data": "text", "labels": [1, 2]},
        {"data": images[:2].reshape(2, -1).astype(float), "labels": [1, 2]},
        [1],
    ]
    for content in wrong:
        dump(folder / "data_batch_2", content)
        with pytest.raises(DataError, match="data_batch_2: ") as caught:
            TorchvisionSets(folder, dataset="cifar10").split("train")
        assert "\n" not in str(caught.value)
    (folder / "data_batch_2").write_bytes(good[:-100])
    with pytest.raises(DataError, match="data_batch_2: not read"):
        TorchvisionSets(folder, dataset="cifar10").split("train")
    dump(folder / "data_batch_2", {"data": images[:2].reshape(2, -1), "labels": [1, 10]})
    with pytest.raises(DataError, match="label 10, but there are 10 classes"):
        TorchvisionSets(folder, dataset="cifar10").split("train")


def stl10(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    written = {}
    for name, count in (("train", 3), ("test", 2), ("unlabeled", 4)):
        images = rng.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
        with (folder / f"{name}_X.bin").open("wb") as file:
            for image in images:
                for channel in range(3):
                    for column in range(96):
                        file.write(image[:, column, channel].tobytes())
        written[name] = torch.from_numpy(images.transpose(0, 3, 1, 2))
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 4]))
    (folder / "test_y.bin").write_bytes(bytes([2, 3]))
    return written


def test_stl10_is_stored_by_columns(tmp_path):
    written = stl10(tmp_path / "stl10_binary")
    for root in (tmp_path, tmp_path / "stl10_binary"):
        data = TorchvisionSets(root, dataset="stl10")
        assert torch.equal(data.table("train"), written["train"])
        assert torch.equal(data.table("test"), written["test"])
        assert data.split("train").labels.tolist() == [0, 9, 3]
        assert data.split("test").labels.tolist() == [1, 2]
        assert torch.equal(data.table("pretrain"), torch.cat([written["unlabeled"], written["train"]]))
        assert data.split("pretrain").labels.tolist() == [-1] * 4 + [0, 9, 3]
        assert data.split("pretrain").fingerprint() != data.split("train").fingerprint()


def test_stl10_pretraining_takes_what_is_asked_for(tmp_path):
    written = stl10(tmp_path / "stl10_binary")
    for choice, name in (("train", "train"), ("unlabelled", "unlabeled")):
        data = TorchvisionSets(tmp_path, dataset="stl10", pretrain_on=choice)
        assert torch.equal(data.table("pretrain"), written[name])
    (tmp_path / "stl10_binary/unlabeled_X.bin").unlink()
    assert torch.equal(TorchvisionSets(tmp_path, dataset="stl10").table("pretrain"), written["train"])
    with pytest.raises(DataError, match=r"unlabeled_X\.bin: no such file"):
        TorchvisionSets(tmp_path, dataset="stl10", pretrain_on="unlabelled").split("pretrain")
    (tmp_path / "stl10_binary/train_y.bin").write_bytes(bytes([1, 2]))
    with pytest.raises(DataError, match="3 train images, but 2 labels"):
        TorchvisionSets(tmp_path, dataset="stl10").split("train")
    with pytest.raises(DataError, match='cifar10 has no unlabelled images; set `pretrain_on = "train"`'):
        TorchvisionSets(tmp_path, dataset="cifar10", pretrain_on="unlabelled")


def test_imagenette_tests_on_val(tmp_path):
    root = tmp_path / "imagenette2-160"
    for split, wnids in (("train", ["n03888257", "n01440764", "n02102040"]), ("val", ["n03888257"])):
        for wnid in wnids:
            (root / split / wnid).mkdir(parents=True)
            Image.new("RGB", (20, 10)).save(root / split / wnid / "a.JPEG", "JPEG")
    for place in (tmp_path, root):
        data = TorchvisionSets(place, dataset="imagenette")
        assert data.class_names == tuple(IMAGENETTE.values())
        assert data.split("train").labels.tolist() == [0, 1, 9]
        assert data.split("test")[0][1] == 9
        assert data.split("test").describe(0) == str(root / "val/n03888257/a.JPEG")
        assert data.table("train") is None
        with pytest.raises(AbsentError, match="imagenette has no validation split"):
            data.split("validation")


def test_a_folder_without_the_set_says_what_was_expected(tmp_path):
    for dataset, expected in (("cifar10", "cifar-10-batches-py"), ("stl10", "stl10_binary"), ("imagenette", "val/")):
        with pytest.raises(DataError, match=f"no {dataset} here; expected .*{expected}"):
            TorchvisionSets(tmp_path, dataset=dataset)


def test_the_fingerprint_follows_pixels_and_labels(tmp_path):
    images, labels = random_images(12)
    folder = tmp_path / "cifar-10-batches-py"
    seen = set()
    for change in range(3):
        if change == 1:
            images[0, 0, 0, 0] ^= 1
        if change == 2:
            labels[0] = (labels[0] + 1) % 10
        python_cifar10(folder, images, labels)
        seen.add(TorchvisionSets(tmp_path, dataset="cifar10").split("train").fingerprint())
        seen.add(TorchvisionSets(tmp_path, dataset="cifar10").split("train").fingerprint())
    assert len(seen) == 3
    data = TorchvisionSets(tmp_path, dataset="cifar10").split("train")
    assert pickle.loads(pickle.dumps(data)).fingerprint() == data.fingerprint()
    assert io.BytesIO(pickle.dumps(data)).getbuffer().nbytes < 200_000
