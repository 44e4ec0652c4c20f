from __future__ import annotations

import gzip
import io
import json
import logging
import multiprocessing
import os
import pickle
import tarfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sslkit import BadImageError, DataError, TarShards
from sslkit.builtin.data import tar_shards


def png(number, size=(4, 3)):
    file = io.BytesIO()
    Image.new("RGB", size, (number, 0, 0)).save(file, "png")
    return file.getvalue()


def pack(path, members, format=tarfile.PAX_FORMAT):
    """Write (name, bytes) pairs, or whole TarInfos, into a tar."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def samples(numbers):
    pairs = [((f"{number:06}.png", png(number)), (f"{number:06}.cls", b"%d" % (number % 3))) for number in numbers]
    return [member for pair in pairs for member in pair]


def content(images):
    return [(images[index][0].getpixel((0, 0))[0], images[index][1]) for index in range(len(images))]


def test_samples_of_all_shards_in_order(tmp_path):
    pack(tmp_path / "train-000.tar", samples(range(4)))
    pack(tmp_path / "train-001.tar", samples(range(4, 6)))
    pack(tmp_path / "val.tar", samples([8]))
    data = TarShards(tmp_path, train="train-{000..001}.tar", validation="val.tar")
    assert (data.class_names, data.num_classes) == (["0", "1", "2"], 3)
    train = data.split("pretrain")
    assert data.split("train") is train
    assert content(train) == [(number, number % 3) for number in range(6)]
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert content(data.split("validation")) == [(8, 2)]
    assert train.describe(4) == f"{tmp_path}/train-001.tar!000004.png"
    assert train[-1][1] == 2
    with pytest.raises(IndexError):
        train[6]


def test_text_labels_are_matched_by_name(tmp_path, caplog):
    pack(tmp_path / "train.tar", [("a.JPG", png(1)), ("a.txt", b"dog\n"), ("b.txt", b"cat"), ("b.jpg", png(2))])
    pack(tmp_path / "test.tar", [("c.jpg", png(3)), ("c.txt", b"dog")])
    pack(tmp_path / "odd.tar", [("c.jpg", png(3)), ("c.txt", b"dogg")])
    data = TarShards(tmp_path, train="train.tar", test="test.tar", validation="odd.tar", label="txt")
    assert data.class_names == ["cat", "dog"]
    with caplog.at_level(logging.INFO, logger="sslkit"):
        assert content(data.split("test")) == [(3, 1)]
    assert caplog.messages == ["test: no images of class cat"]
    with pytest.raises(DataError, match=r"odd\.tar!c\.jpg: class 'dogg' is not in the train split; did you mean"):
        data.split("validation")


def test_json_labels(tmp_path):
    rows = [("a.png", png(1)), ("a.json", json.dumps({"class": 7, "label": "x"}).encode()),
            ("b.png", png(2)), ("b.json", json.dumps({"class": 5, "label": ["y"]}).encode())]  # fmt: skip
    pack(tmp_path / "a.tar", rows)
    assert TarShards(tmp_path, train="a.tar", label="json", label_key="class").class_names == ["5", "7"]
    with pytest.raises(DataError, match=r'a\.tar!b\.json: a label must be a whole number or text, not \["y"\]'):
        TarShards(tmp_path, train="a.tar", label="json")
    with pytest.raises(DataError, match=r'a\.tar!a\.json: no key "kind"; say which, `label_key'):
        TarShards(tmp_path, train="a.tar", label="json", label_key="kind")


def test_labels_are_there_or_not(tmp_path, caplog):
    pack(tmp_path / "none.tar", [("a.png", png(1))])
    pack(
        tmp_path / "some.tar",
        [("a.png", png(1)), ("a.cls", b"0"), ("b.png", png(2)), ("c.png", png(3)), ("c.cls", b"")],
    )
    assert TarShards(tmp_path, train="none.tar").num_classes is None
    assert TarShards(tmp_path, train="some.tar", label="none").num_classes is None
    with caplog.at_level(logging.INFO, logger="sslkit"):
        assert TarShards(tmp_path, train="some.tar").split("train").labels.tolist() == [0, -1, -1]
    assert caplog.messages == ["train: 2 of 3 images have no label"]
    with pytest.raises(DataError, match=r"some\.tar: no txt member in 1 shards; members end in cls, png"):
        TarShards(tmp_path, train="some.tar", label="txt")


def test_a_sample_has_one_image(tmp_path):
    pack(tmp_path / "two.tar", [("a.left.png", png(1)), ("a.right.png", png(2)), ("a.cls", b"0")])
    pack(tmp_path / "same.tar", [("a.png", png(1)), ("a.jpg", png(2))])
    pack(tmp_path / "lost.tar", [*samples([0]), ("b.cls", b"0")])
    for extension, number in (("left.png", 1), (".right.png", 2)):
        assert content(TarShards(tmp_path, train="two.tar", image=extension).split("train")) == [(number, 0)]
    with pytest.raises(DataError, match=r"two\.tar!a: has a label, but no image"):
        TarShards(tmp_path, train="two.tar")
    with pytest.raises(DataError, match=r"two\.tar: no image in 1 shards; members end in cls, left\.png, right\.png"):
        TarShards(tmp_path, train="two.tar", label="none")
    with pytest.raises(DataError, match=r"same\.tar!a\.jpg: a second image of its sample, beside a\.png; .*`image"):
        TarShards(tmp_path, train="same.tar")
    with pytest.raises(DataError, match=r"lost\.tar!b: has a label, but no image"):
        TarShards(tmp_path, train="lost.tar")


def test_keys_end_at_the_first_dot_behind_the_last_slash(tmp_path, caplog):
    folder = tarfile.TarInfo("v1.0/")
    folder.type = tarfile.DIRTYPE
    pack(tmp_path / "a.tar", [(folder, b""), ("v1.0/a.png", png(1)), ("w/a.png", png(2)), ("v1.0/a.cls", b"1"),
                              ("w/a.cls", b"0"), ("w/._a.png", b"junk"), ("README", b"")])  # fmt: skip
    with caplog.at_level(logging.INFO, logger="sslkit"):
        data = TarShards(tmp_path, train="a.tar")
    assert content(data.split("train")) == [(1, 1), (2, 0)]
    assert caplog.messages == ["train: ignored, because not named KEY.EXTENSION: 2"]


def test_samples_without_image_and_label_are_counted(tmp_path, caplog):
    pack(tmp_path / "a.tar", [*samples([0]), ("b.jxl", b"?"), ("b.txt", b"a caption"), ("c.json", b"{}")])
    with caplog.at_level(logging.INFO, logger="sslkit"):
        assert len(TarShards(tmp_path, train="a.tar").split("train")) == 1
    assert caplog.messages == ["train: samples left out, because they have no image: 2"]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_and_foreign_names(tmp_path, format):
    long = "/".join(["d" * 90, "e" * 60, "ünï"])
    pack(tmp_path / "a.tar", [(f"{long}.png", png(7)), (f"{long}.cls", b"3")], format)
    images = TarShards(tmp_path, train="a.tar").split("train")
    assert images.describe(0).endswith(f"!{long}.png")
    assert content(images) == [(7, 0)]


def test_whatever_is_cut_from_a_shard_it_is_refused(tmp_path):
    pack(tmp_path / "whole.tar", samples(range(2)))
    whole = (tmp_path / "whole.tar").read_bytes()
    end = 4 * 1024  # four members of a header and one block each
    assert any(whole[end - 1024 : end])
    assert not any(whole[end:])
    for kept in (*range(0, end + 1024, 256), end - 1, end + 1023):
        (tmp_path / "cut.tar").write_bytes(whole[:kept])
        with pytest.raises(DataError, match=r"cut\.tar: (damaged or cut short at byte [\d,]+ of [\d,]+|no tar file)"):
            TarShards(tmp_path, train="cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: end - 400])  # in the padding of the last member
    with pytest.raises(DataError, match=r"at byte 3,696 of 3,696"):
        TarShards(tmp_path, train="cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: end + 1024])  # all there, but for the padding
    assert len(TarShards(tmp_path, train="cut.tar").split("train")) == 2


def test_damaged_headers_and_joined_shards_are_refused(tmp_path):
    pack(tmp_path / "whole.tar", samples(range(2)))
    whole = (tmp_path / "whole.tar").read_bytes()
    damaged = bytearray(whole)
    damaged[2 * 1024 + 3] ^= 1  # in the name of the third member
    (tmp_path / "bad.tar").write_bytes(damaged)
    with pytest.raises(DataError, match=r"bad\.tar: damaged or cut short at byte 2,048 of 10,240"):
        TarShards(tmp_path, train="bad.tar")
    (tmp_path / "joined.tar").write_bytes(whole + whole)
    with pytest.raises(DataError, match=r"joined\.tar: more data behind its end mark at byte 4,096; .* `cat`"):
        TarShards(tmp_path, train="joined.tar")
    (tmp_path / "text.tar").write_text("no tar at all\n" * 100)
    with pytest.raises(DataError, match=r"text\.tar: no tar file"):
        TarShards(tmp_path, train="text.tar")


def test_links_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = kind, "../../etc/passwd"
        pack(tmp_path / "a.tar", [*samples([0]), (link, b"")])
        with pytest.raises(DataError, match=r"a\.tar!b\.png: a link; pack with `tar --dereference"):
            TarShards(tmp_path, train="a.tar")


def test_compressed_and_remote_shards_are_refused(tmp_path):
    pack(tmp_path / "a.tar", samples([0]))
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar\.gz: compressed, .*; gunzip it"):
        TarShards(tmp_path, train="a.tar.gz")
    for remote in ("https://example.org/{0..9}.tar", "pipe:cat a.tar"):
        with pytest.raises(DataError, match="not a file; reading at random needs shards on a disk"):
            TarShards(tmp_path, train=remote)


def test_shards_are_found_by_globs_ranges_and_choices(tmp_path):
    for name in ("a-8", "a-9", "a-10", "b-008", "b-010"):
        pack(tmp_path / f"{name}.tar", [("x.png", png(1))])

    def found(*patterns):
        images = TarShards(tmp_path, train=list(patterns)).split("train")
        return [images.describe(index).rpartition("!")[0].removeprefix(f"{tmp_path}/") for index in range(len(images))]

    assert found("a-{8..10}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar"]
    assert found("a-*.tar") == ["a-10.tar", "a-8.tar", "a-9.tar"]
    assert found("b-0{08,10}.tar", "b-*.tar") == ["b-008.tar", "b-010.tar"]
    assert found(str(tmp_path / "a-?.tar")) == ["a-8.tar", "a-9.tar"]
    for pattern, message in {
        "b-{008..010}.tar": r"b-009\.tar: no such shard",
        "c-*.tar": r"c-\*\.tar: no such shard",
        "a-80.tar": r'no such shard; did you mean "a-8\.tar"',
        "a-{10..8}.tar": "runs backwards",
        "a-{8}.tar": r"\{8\} is neither a range",
    }.items():
        with pytest.raises(DataError, match=message):
            found(pattern)
    with pytest.raises(DataError, match="train names no shards"):
        found()


def test_a_damaged_image_is_named(tmp_path):
    pack(tmp_path / "a.tar", [("a.png", png(1)[:-30]), ("b.png", b"")])
    images = TarShards(tmp_path, train="a.tar").split("train")
    for index, name in enumerate("ab"):
        with pytest.raises(BadImageError, match=rf"a\.tar!{name}\.png: "):
            images[index]


def test_a_shard_exchanged_behind_the_index_never_gives_wrong_pixels(tmp_path):
    path = tmp_path / "a.tar"
    pack(path, samples(range(2)))
    before = path.stat()
    images = TarShards(tmp_path, train="a.tar").split("train")
    first = images.fingerprint()
    pack(tmp_path / "b.tar", samples(range(3, 5)))
    (tmp_path / "b.tar").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"a\.tar: changed since it was indexed"):
        images[0]
    path.touch()
    again = TarShards(tmp_path, train="a.tar").split("train")
    assert content(again) == [(3, 0), (4, 1)]
    assert again.fingerprint() != first
    path.unlink()
    tar_shards._opened.cache_clear()
    with pytest.raises(DataError, match=r"a\.tar: No such file"):
        again[0]


def test_the_fingerprint_knows_shard_member_size_and_label_but_no_time(tmp_path):
    def fingerprint(members, name="a.tar", folder="one"):
        (tmp_path / folder).mkdir(exist_ok=True)
        pack(tmp_path / folder / name, members)
        return TarShards(tmp_path / folder, train=name).split("train").fingerprint()

    first = fingerprint(samples(range(2)))
    assert fingerprint(samples(range(2)), folder="two") == first
    others = [
        fingerprint(samples(range(2)), name="b.tar"),
        fingerprint(samples(range(1, 3))),
        fingerprint([("000000.png", png(0)), ("000000.cls", b"1"), ("000001.png", png(1)), ("000001.cls", b"0")]),
        fingerprint([("000000.png", png(0) + b"\0"), *samples(range(2))[1:]]),
    ]
    assert len({first, *others}) == 5


def test_a_second_start_reads_no_header(tmp_path, monkeypatch):
    pack(tmp_path / "a.tar", samples(range(3)))
    first = TarShards(tmp_path, train="a.tar").split("train")

    def refuse(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(tar_shards, "index_shards", refuse)
    second = TarShards(tmp_path, train="a.tar").split("train")
    assert content(second) == content(first)
    with pytest.raises(ZeroDivisionError):
        TarShards(tmp_path, train="a.tar", image="png")  # asks for something else
    pack(tmp_path / "a.tar", samples(range(4)))
    with pytest.raises(ZeroDivisionError):
        TarShards(tmp_path, train="a.tar")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_shards_are_read_in_other_processes(tmp_path, method):
    pack(tmp_path / "a.tar", samples(range(3)))
    images = TarShards(tmp_path, train="a.tar").split("train")
    expected = content(images)  # a forked process inherits the open file
    assert len(pickle.dumps(images)) < 3000
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(content, images).result() == expected


def test_few_files_are_open_at_a_time(tmp_path):
    for number in range(70):
        pack(tmp_path / f"{number:02}.tar", samples([number]))
    images = TarShards(tmp_path, train="{00..69}.tar").split("train")
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None  # noqa: PTH110, PTH208
    assert [pixel for pixel, _ in content(images)] == list(range(70))
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + 64  # noqa: PTH208
    limit = tar_shards._opened.cache_info()
    assert limit.currsize <= limit.maxsize == 64


def test_shards_written_by_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    with webdataset.ShardWriter(f"{tmp_path}/train-%06d.tar", maxcount=2, verbose=0) as sink:
        for number, image in enumerate(images):
            sink.write({"__key__": f"s/{number:04}", "png": image, "cls": number % 2, "json": {"label": number}})
    data = TarShards(tmp_path, train="train-{000000..000002}.tar")
    theirs = list(webdataset.WebDataset(f"{tmp_path}/train-{{000000..000002}}.tar", shardshuffle=False).decode("rgb8"))
    train = data.split("train")
    assert len(train) == len(theirs) == 5
    for index, sample in enumerate(theirs):
        image, label = train[index]
        assert np.array_equal(np.asarray(image), sample["png"])
        assert np.array_equal(np.asarray(image), images[index])
        assert label == sample["cls"]
        assert f"!{sample['__key__']}.png" in train.describe(index)
    assert TarShards(tmp_path, train="train-*.tar", label="json").num_classes == 5
