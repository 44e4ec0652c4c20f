from __future__ import annotations

import gc
import hashlib
import multiprocessing
import pickle
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit import AbsentError, BadImageError, DataError, Listing
from sslkit.builtin.data.image_folder import ImageFiles, ImageFolder


def draw(root, *paths, size=(6, 4)):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(root / path)


def labels_of(files):
    """Return the labels without reading the images."""
    return {files.path(index): int(files.labels[index]) for index in range(len(files))}


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
    assert (image.size, image.mode, label, type(label)) == ((6, 4), "RGB", 1, int)
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


def said(caplog):
    """Return what the log says behind the folder's path, and forget it."""
    lines = [record.getMessage() for record in caplog.records if record.name == "sslkit"]
    caplog.clear()
    return [line[line.index("photos") :] for line in lines]


@pytest.fixture
def log(caplog):
    caplog.set_level("INFO", "sslkit")
    return caplog


def test_junk_changes_nothing_and_is_counted_in_one_line(tmp_path, log):
    draw(tmp_path / "photos", "train/b/1.png", "train/a/2.png", "test/a/3.png")
    clean = ImageFolder(tmp_path / "photos")
    before = [clean.split(name).fingerprint() for name in ("train", "test")]
    assert said(log) == ["photos/test: no images of class b"]
    train = tmp_path / "photos/train"
    draw(train, "a/.ipynb_checkpoints/x.png", "__MACOSX/a/y.png", ".git/z.png")
    for junk in (".DS_Store", "a/Thumbs.db", "b/._1.png"):
        (train / junk).write_bytes(b"junk")
    data = ImageFolder(tmp_path / "photos")
    assert said(log) == ["photos/train: 6 entries ignored (.DS_Store, ._1.png, .git, …)"]
    assert data.class_names == ["a", "b"]
    assert [data.split(name).fingerprint() for name in ("train", "test")] == before
    (tmp_path / "photos/test/readme.txt").write_text("")
    ImageFolder(tmp_path / "photos").split("test")
    assert "photos/test: 1 entry ignored (readme.txt)" in said(log)


def test_the_label_is_where_a_link_lies(tmp_path, log):
    root = tmp_path / "photos"
    draw(root, "a/1.png", "b/bar/indoor/1.png", "c/1.png")
    draw(tmp_path, "store/x.png", "store/y.png", "class/z.png")
    for name in ("x.png", "y.png", "gone.png"):
        (root / "c" / name).symlink_to(tmp_path / "store" / name)  # a class of links
    (root / "d").symlink_to(tmp_path / "class")  # a class that is a link
    (root / "b/bar/round").symlink_to(root)  # a loop
    (root / "a/2.png").symlink_to(root / "c/1.png")  # one file in two classes
    (root / "a/3.png").symlink_to(root / "a/1.png")  # twice in one class
    data = ImageFolder(root)
    assert data.class_names == ["a", "b", "c", "d"]
    train = data.split("train")
    by_path = labels_of(train)
    assert by_path == {
        "a/1.png": 0, "a/2.png": 0, "b/bar/indoor/1.png": 1,
        "c/1.png": 2, "c/gone.png": 2, "c/x.png": 2, "c/y.png": 2, "d/z.png": 3,
    }  # fmt: skip
    with pytest.raises(BadImageError, match=r"c/gone\.png: no such file"):
        train[4]
    assert said(log) == ["photos: 1 link left out: the files themselves are listed"]
    unlabelled = ImageFolder(root, labels="none").split("train")
    assert labels_of(unlabelled) == dict.fromkeys(by_path.keys() - {"a/2.png"}, -1)
    assert said(log) == ["photos: 2 links left out: the files themselves are listed"]


def test_a_class_that_links_to_another_is_none(tmp_path, log):
    draw(tmp_path / "photos", "cat/1.png", "dog/1.png")
    (tmp_path / "photos/animal").symlink_to(tmp_path / "photos/cat")
    assert ImageFolder(tmp_path / "photos").class_names == ["cat", "dog"]
    assert said(log) == ["photos: without images, so no class: animal"]


def test_a_class_absent_from_the_test_split_is_named(tmp_path, log):
    draw(tmp_path / "photos", "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png")
    (tmp_path / "photos/test/a").mkdir()
    (tmp_path / "photos/test/unknown").mkdir()
    data = ImageFolder(tmp_path / "photos")
    assert labels_by_path(data.split("test")) == {"c/1.png": 2}
    data.split("test")
    assert said(log) == ["photos/test: no images of class a, b"]


def test_an_empty_train_folder_is_no_class(tmp_path, log):
    draw(tmp_path / "photos", "train/a/1.png", "train/c/1.png", "test/a/1.png", "test/b/1.png", "test/b/2.png")
    (tmp_path / "photos/train/b").mkdir()
    data = ImageFolder(tmp_path / "photos")
    assert (data.num_classes, data.class_names) == (2, ["a", "c"])
    assert labels_by_path(data.split("train")) == {"a/1.png": 0, "c/1.png": 1}
    assert said(log) == ["photos/train: without images, so no class: b"]
    assert labels_by_path(data.split("test")) == {"a/1.png": 0}
    assert said(log) == [
        "photos/test: 2 images of b left out: none in the train split",
        "photos/test: no images of class c",
    ]
    for path in ("train", "test"):
        draw(tmp_path / "other", f"{path}/{'a' if path == 'train' else 'b'}/1.png")
    (tmp_path / "other/train/b").mkdir()
    with pytest.raises(DataError, match="test: holds no images of the train split's classes"):
        ImageFolder(tmp_path / "other", labels="folders").split("test")


def test_a_hostile_name_reaches_no_terminal(tmp_path, log):
    draw(tmp_path / "photos", "train/a/1.png", "train/b/1.png", "test/a/1.png")
    (tmp_path / "photos/train/.\x1b[2Jjunk\n").write_text("")
    (tmp_path / "photos/train/\x1b[2J\n").mkdir()
    ImageFolder(tmp_path / "photos").split("test")
    assert all(line.isprintable() for line in said(log))


def test_bad_image_options_are_kept(tmp_path):
    draw(tmp_path, "a.png")
    data = ImageFolder(tmp_path, on_bad_image="replace", max_bad_fraction=0.5)
    assert (data.on_bad_image, data.max_bad_fraction, ImageFolder(tmp_path).max_bad_fraction) == ("replace", 0.5, 0.2)


def test_the_fingerprint_knows_path_size_and_label(tmp_path):
    draw(tmp_path / "one", "train/a/1.png", "train/b/2.png")
    train = tmp_path / "one/train"

    def fingerprint():
        return ImageFolder(tmp_path / "one").split("train").fingerprint()

    first = fingerprint()
    draw(tmp_path / "two", "train/a/1.png", "train/b/2.png")
    assert ImageFolder(tmp_path / "two").split("train").fingerprint() == first  # moved, not changed
    assert ImageFolder(tmp_path / "two", labels="none").split("train").fingerprint() != first
    (train / "b/2.png").write_bytes((train / "b/2.png").read_bytes() + b"\0")
    second = fingerprint()
    (train / "b/2.png").rename(train / "b/3.png")
    third = fingerprint()
    (train / "b").rename(train / "A")  # sorts first: both labels change
    draw(train, "A/4.png")
    assert len({first, second, third, fingerprint()}) == 4


def test_files_survive_the_way_to_a_worker(tmp_path):
    draw(tmp_path, "ünï/a.png", "b/b.png")
    files = ImageFolder(tmp_path).split("pretrain")
    again = pickle.loads(pickle.dumps(files))
    assert again.describe(1) == str(tmp_path / "ünï/a.png")
    assert np.asarray(again[1][0]).tolist() == np.asarray(files[1][0]).tolist()
    assert again.fingerprint() == files.fingerprint()


@pytest.mark.parametrize("shared_from", [0, 2**20])
def test_other_labels_and_some_of_the_files(tmp_path, monkeypatch, shared_from):
    monkeypatch.setattr("sslkit.builtin.data.image_folder._SHARED_FROM_BYTES", shared_from)
    draw(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    files = ImageFolder(tmp_path).split("train")
    assert labels_by_path(files.subset(np.array([2, 0]))) == {"b/3.png": 1, "a/1.png": 0}
    assert labels_by_path(files.with_labels(np.array([5, 6, 7]))) == {"a/1.png": 5, "b/2.png": 6, "b/3.png": 7}
    several = files.with_labels(np.array([[1, 0], [0, -1], [1, 1]], dtype=np.int8))
    assert (several[1][1].tolist(), several[1][1].dtype) == ([0, -1], np.int8)
    assert len({files.fingerprint(), several.fingerprint(), files.subset(np.array([0, 1])).fingerprint()}) == 3


MANY = 100_000
MEMORY = Path("/proc/self/smaps_rollup")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return files of a folder that holds none: nothing below looks at them."""
    paths = [f"{number % 100:02}/{number:06}_photograph.jpg" for number in range(MANY)]
    return ImageFiles(Listing.of(tmp_path_factory.mktemp("many"), paths), np.arange(MANY) % 100)


def test_a_long_list_is_not_pickled(many):
    assert len(pickle.dumps(many)) < 20_000
    assert len(pickle.dumps(many.with_labels(np.zeros(MANY, dtype=np.int64)))) < 20_000
    assert len(pickle.dumps(many.subset(np.arange(50_000)))) < 20_000
    again = pickle.loads(pickle.dumps(many))
    assert (again.path(-1), int(again.labels[-1])) == ("99/099999_photograph.jpg", 99)


def private_bytes():
    """Return the memory that this process shares with nobody, and could not drop either."""
    lines = MEMORY.read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def digest_of(files):
    digest = hashlib.sha256()
    for index in range(len(files)):
        digest.update(f"{files.path(index)} {files.labels[index]}".encode())
    return digest.hexdigest()


def read_all(files, answer):
    gc.disable()
    gc.freeze()
    before = private_bytes()
    digest = digest_of(files)
    answer.put((digest, private_bytes() - before))


@pytest.mark.skipif(not MEMORY.exists(), reason="memory is told by Linux only")
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_worker_reads_a_long_list_without_copying_it(many, how):
    expected = digest_of(many)  # first, so that a worker inherits whatever reading leaves behind
    context = multiprocessing.get_context(how)
    answer = context.SimpleQueue()
    process = context.Process(target=read_all, args=(many, answer))
    process.start()
    digest, grown = answer.get()
    process.join(60)
    assert digest == expected
    assert grown < 1_500_000  # the paths alone are 2.3 MB


@pytest.mark.slow
def test_a_second_start_with_a_hundred_thousand_files_takes_no_second(tmp_path):
    for folder in range(100):
        (tmp_path / f"{folder:02}").mkdir()
        for number in range(1000):
            (tmp_path / f"{folder:02}/{number:04}_photograph.jpg").touch()
    first = ImageFolder(tmp_path).split("train").fingerprint()
    passed = []
    for _ in range(3):
        start = time.perf_counter()
        data = ImageFolder(tmp_path).split("train")
        assert (len(data), data.fingerprint()) == (MANY, first)
        passed.append(time.perf_counter() - start)
    assert min(passed) < 1


def test_folders_beside_train_are_named_for_they_may_have_been_classes(tmp_path, caplog):
    draw(tmp_path, "aeroplane/a.png", "bird/b.png", "train/c.png", ".cache/d.png", "val/e.png")
    data = ImageFolder(tmp_path)
    assert data.class_names is None
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.endswith("it has train/, so its folders are taken for splits, and left out are: aeroplane, bird")


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("Train", "Test"), 'say so: train = "Train", test = "Test"'),
        (("training", "valid", "testing"), 'say so: train = "training", validation = "valid", test = "testing"'),
    ],
)
def test_splits_under_other_names_are_not_taken_for_classes(tmp_path, folders, said):
    draw(tmp_path, *(f"{folder}/{name}/a.png" for folder in folders for name in ("cat", "dog")))
    with pytest.raises(DataError, match=f"its folders look like splits, not like classes; {said}"):
        ImageFolder(tmp_path)
    options = dict(part.split(" = ") for part in said.removeprefix("say so: ").replace('"', "").split(", "))
    assert ImageFolder(tmp_path, **options).class_names == ["cat", "dog"]


def test_a_class_is_the_same_however_its_accents_are_encoded(tmp_path):
    one, two = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    draw(tmp_path, f"train/{one}/a.png", "train/tea/b.png", f"test/{two}/c.png")
    test = ImageFolder(tmp_path).split("test")
    assert test.labels.tolist() == [0]


def test_validation_images_that_are_the_test_are_not_chosen_by(tmp_path):
    draw(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "val/dog/d.png")
    data = ImageFolder(tmp_path, test="val")
    assert len(data.split("test")) == 2
    with pytest.raises(AbsentError, match="val: is the test split; validation has none"):
        data.split("validation")
