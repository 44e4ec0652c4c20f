from __future__ import annotations

import logging
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from sslkit import BadImageError, DataError, ImageFolder, ImageList


@pytest.fixture
def folder(tmp_path):
    """A folder with four images; the number of each is its red value."""
    for number, path in enumerate(["dog/a.png", "cat/b.png", "cat/c d.png", "e,f.png"]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(tmp_path / path)
    return tmp_path


def write(folder, text, name="train.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return name


def content(files):
    return [(files[index][0].getpixel((0, 0))[0], files[index][1]) for index in range(len(files))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.csv", 'dog/a.png,dog\ncat/b.png,cat\n\n"e,f.png",dog\n'),
        ("train.csv", "\ufeffdog/a.png;dog\r\ncat/b.png;cat\r\ne,f.png;dog\r\n"),
        ("train.tsv", "dog/a.png\tdog\ncat/b.png\tcat\ne,f.png\tdog"),
        ("train.txt", "dog/a.png dog\ncat/b.png cat\ne,f.png dog\n"),
        ("train", "dog/a.png\tdog\ncat/b.png\tcat\ne,f.png\tdog\n"),
    ],
)
def test_every_usual_kind_of_list_is_read(folder, name, text):
    data = ImageList(folder, train=write(folder, text, name))
    assert (data.class_names, data.num_classes) == (["cat", "dog"], 2)
    assert content(data.split("pretrain")) == [(0, 1), (1, 0), (3, 1)]
    assert data.split("train") is data.split("pretrain")


def test_a_plain_list_has_paths_with_spaces_and_commas_and_no_labels(folder):
    data = ImageList(folder, train=write(folder, "cat/c d.png\ne,f.png\n", "train.txt"))
    assert (data.class_names, data.num_classes) == (None, None)
    assert content(data.split("train")) == [(2, -1), (3, -1)]


def test_named_columns_say_that_there_is_a_header(folder):
    text = "score;Species;file\n1,5;dog;a.png\n2;cat;../cat/b.png\n"
    train = write(folder, text)
    data = ImageList(folder, train=train, images="dog", path_column="file", label_column="Species")
    assert content(data.split("train")) == [(0, 1), (1, 0)]
    assert ImageList(folder, train=train, images="dog", path_column="file").class_names is None
    with pytest.raises(DataError, match=r"train\.csv:1: no column 'species'; did you mean \"Species\""):
        ImageList(folder, train=train, images="dog", path_column="file", label_column="species")
    with pytest.raises(DataError, match=r"train\.csv:1: no column 'x'; there are: score;Species;file"):
        ImageList(folder, train=train, label_column="x")


def test_a_header_that_nobody_named_is_not_taken_for_an_image(folder):
    train = write(folder, "image,class\ndog/a.png,dog\n")
    for policy in ("raise", "replace"):
        with pytest.raises(DataError, match=r"train\.csv:1: .*image: no such file; 1 of 2.*`path_column = \"image\"`"):
            ImageList(folder, train=train, on_bad_image=policy)
    assert content(ImageList(folder, train=train, path_column="image").split("train")) == [(0, -1)]


def test_whole_numbers_keep_their_order_and_other_lists_follow_by_name(folder, caplog):
    train = write(folder, "dog/a.png,10\ncat/b.png,9\ne,f.png,-1\n".replace("e,f.png", '"e,f.png"'))
    test = write(folder, "cat/b.png,10\n", "test.csv")
    data = ImageList(folder, train=train, test=test)
    assert data.class_names == ["9", "10"]
    with caplog.at_level(logging.INFO, logger="sslkit"):
        assert data.split("test").labels.tolist() == [1]
    assert caplog.messages == ["test: no images of class 9"]
    assert data.split("train").labels.tolist() == [1, 0, -1]
    official = write(folder, "dog/a.png,2\ncat/b.png,0\ncat/c d.png,1\n", "official.csv")
    assert ImageList(folder, train=official).split("train").labels.tolist() == [2, 0, 1]


def test_an_unknown_class_is_refused_with_its_line(folder):
    train = write(folder, "dog/a.png,dog\ncat/b.png,cat\n")
    data = ImageList(folder, train=train, test=write(folder, "cat/b.png,cat\n\ncat/c d.png,catt\n", "test.csv"))
    with pytest.raises(DataError, match=r"test\.csv:3: class 'catt' is not in the train split; did you mean \"cat\"\?"):
        data.split("test")


def test_an_image_without_a_label_counts_in_the_log(folder, caplog):
    with caplog.at_level(logging.INFO, logger="sslkit"):
        data = ImageList(folder, train=write(folder, "dog/a.png,dog\ncat/b.png,\n"))
    assert data.split("train").labels.tolist() == [0, -1]
    assert caplog.messages == ["train: 1 of 2 images have no label"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog/a.png,dog\ncat/b.png\n", r":2: 1 columns, but 2 before; .*`delimiter`"),
        ("dog/a.png,dog\n,cat\n", ":2: no path"),
        ("\n \n", "lists no image"),
        ('dog/a.png,dog\n"cat/b.png,cat\n', ":2: unexpected end of data"),
        ("dog/a.png,dog\ndog/a.png,cat\n", r":2: dog/a\.png has label 'cat', but 'dog' on line 1"),
        ("dog/a.png\0,dog\n", "not a text file in UTF-8"),
    ],
)
def test_damaged_lists_are_refused_with_the_line(folder, text, message):
    with pytest.raises(DataError, match=rf"train\.csv{message}" if message[0] == ":" else message) as caught:
        ImageList(folder, train=write(folder, text))
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused_in_labels_and_kept_in_paths(folder):
    with pytest.raises(DataError, match="not a text file in UTF-8"):
        ImageList(folder, train=write(folder, "dog/a.png,dog\n", encoding="utf-16"))
    with pytest.raises(DataError, match=r"train\.csv:1: label 'K.*se' is not UTF-8"):
        ImageList(folder, train=write(folder, "dog/a.png,Käse\n", encoding="latin-1"))
    if os.name == "posix":
        Image.new("RGB", (2, 2)).save(os.fsencode(folder) + b"/k\xe4se.png", "png")
        data = ImageList(folder, train=write(folder, "käse.png,dog\n", encoding="latin-1"))
        assert content(data.split("train")) == [(0, 0)]


def test_an_image_listed_twice_counts_twice_and_says_so(folder, caplog):
    data = ImageList(folder, train=write(folder, "dog/a.png,dog\ncat/b.png,cat\ndog/a.png,dog\n"))
    assert len(data.split("train")) == 3
    assert "1 images are listed again and count twice, such as dog/a.png on lines 1 and 3" in caplog.text


def test_missing_files_stop_at_once_or_are_bad_images(folder, caplog):
    train = write(folder, "dog/a.png\ngone.png\ncat/b.png\n", "train.txt")
    with pytest.raises(DataError, match=r"train\.txt:2: .*gone\.png: no such file; 1 of 3 are missing; .*`images"):
        ImageList(folder, train=train)
    files = ImageList(folder, train=train, on_bad_image="replace").split("train")
    assert "train.txt:2" in caplog.text
    with pytest.raises(BadImageError, match=r"gone\.png: no such file"):
        files[1]
    with pytest.raises(DataError, match="3 of 3 are missing"):
        ImageList(folder, train=train, images="dog", on_bad_image="replace")


def test_missing_lists_splits_and_folders_are_named(folder):
    with pytest.raises(DataError, match=r"train\.csv: no such list"):
        ImageList(folder, train="train.csv")
    data = ImageList(folder, train=write(folder, "dog/a.png\n"))
    with pytest.raises(DataError, match=r'no test split; say which list, `test = "\.\.\."`'):
        data.split("test")
    with pytest.raises(DataError, match="no split 'tests'; did you mean \"test\""):
        data.split("tests")
    with pytest.raises(DataError, match="none: no such folder"):
        ImageList(folder, train="train.csv", images="none")


def test_absolute_paths_stay_absolute(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    train = write(elsewhere, f"{folder}/dog/a.png\n")
    files = ImageList(elsewhere, train=train).split("train")
    assert files.describe(0) == f"{folder}/dog/a.png"
    assert content(files) == [(0, -1)]


def test_a_list_of_a_folder_is_the_folder(folder):
    (folder / "e,f.png").unlink()
    ours = ImageList(folder, train=write(folder, "cat/b.png,cat\ncat/c d.png,cat\ndog/a.png,dog\n")).split("train")
    theirs = ImageFolder(folder).split("train")
    assert content(ours) == content(theirs)
    assert ours.fingerprint() == theirs.fingerprint()
    (folder / "dog/a.png").write_bytes((folder / "dog/a.png").read_bytes() + b"\0")
    assert ImageList(folder, train="train.csv").split("train").fingerprint() != ours.fingerprint()


def test_a_long_list_travels_to_a_worker_as_a_path(folder):
    lines = [f"{'x' * 30}{number:06}.png,{number % 7}\n" for number in range(40_000)]
    train = write(folder, "".join([*lines, "dog/a.png,0\n"]))
    files = ImageList(folder, train=train, on_bad_image="replace").split("train")
    carried = pickle.dumps(files)
    assert len(carried) < 20_000
    again = pickle.loads(carried)
    assert again.path(39_999) == files.path(39_999)
    assert np.array_equal(again.labels, files.labels)
    assert again[40_000][1] == 0


def test_a_header_of_two_columns_is_named_whole_and_named_columns_are_no_header(folder):
    train = write(folder, "image,class\ndog/a.png,dog\n")
    with pytest.raises(DataError, match='`path_column = "image"` and `label_column = "class"`'):
        ImageList(folder, train=train)
    train = write(folder, "class,image\ncat,nowhere\ndog,dog/a.png\n")
    with pytest.raises(DataError, match=r"train\.csv:2: .*nowhere: no such file; .*`images = ") as error:
        ImageList(folder, train=train, path_column="image", label_column="class")
    assert "if this line is a header" not in str(error.value)


def test_two_spellings_of_a_path_are_one_image(folder):
    with pytest.raises(DataError, match=r"\./dog/a\.png has label 'cat', but 'dog' on line 1"):
        ImageList(folder, train=write(folder, "dog/a.png,dog\n./dog/a.png,cat\n"))
