from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit import index
from sslkit.errors import DataError
from sslkit.images import IMAGE_SUFFIXES, BadImageError, open_image
from sslkit.index import Listing, find_images, list_images


def touch(root, *paths, size=0):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * size)


def link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def paths_of(listing):
    return [listing.path(position) for position in range(len(listing))]


def test_images_are_found_sorted_and_nothing_else(tmp_path):
    touch(tmp_path, "b.PNG", "a/z.jpg", "a-b/x.jpeg", "a/b/c/d.webp", "notes.txt", "jpg", "a/jpg", "png.d/readme")
    assert find_images(tmp_path) == ["a-b/x.jpeg", "a/b/c/d.webp", "a/z.jpg", "b.PNG"]
    assert {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= IMAGE_SUFFIXES


def test_a_listing_knows_paths_sizes_and_folders(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.png", "b-c/d/3.png", size=5)
    touch(tmp_path, "ü.png", "b.png", size=70_000)
    (tmp_path / "empty").mkdir()
    found = list_images(tmp_path)
    assert paths_of(found.files) == ["b-c/d/3.png", "b.png", "b/10.png", "b/2.png", "ü.png"]
    assert found.files.sizes.tolist() == [5, 70_000, 5, 5, 70_000]
    assert found.folders == {"b": range(2, 4), "b-c": range(1), "empty": range(0)}
    assert found.files.path(-1) == "ü.png"
    with pytest.raises(IndexError):
        found.files.path(5)
    known = Listing.of(tmp_path, ["ü.png", str(tmp_path / "b/2.png"), "gone.png"])
    assert paths_of(known) == ["ü.png", str(tmp_path / "b/2.png"), "gone.png"]
    assert known.sizes.tolist() == [70_000, 5, -1]
    assert len(Listing.of(tmp_path, [])) == 0


def test_some_of_a_listing(tmp_path):
    listing = Listing.of(tmp_path, ["a.png", "bb/b.png", "c.png", "ddd.png"])
    some = listing.take(np.array([3, 1]))
    assert paths_of(some) == ["ddd.png", "bb/b.png"]
    assert some.fingerprint() == Listing.of(tmp_path, ["ddd.png", "bb/b.png"]).fingerprint()
    assert len(listing.take(np.array([], dtype=np.int64))) == 0


def test_junk_is_left_out_and_counted(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", size=3)
    clean = list_images(tmp_path)
    assert (clean.ignored, clean.examples) == (0, ())
    junk = [".DS_Store", "a/Thumbs.db", "a/._1.png", "a/.ipynb_checkpoints/x.png", "__MACOSX/a/._1.png", "b/list.txt"]
    touch(tmp_path, *junk, ".git/a.png", ".git/b.png", "a/.1.png.swp")
    os.mkfifo(tmp_path / "b/pipe.png")  # opening it would wait for ever
    link(tmp_path / "b/pipe_link.png", tmp_path / "b/pipe.png")
    found = list_images(tmp_path)
    assert found.ignored == 10
    assert found.examples == (".1.png.swp", ".DS_Store", "._1.png")
    assert found.folders == clean.folders
    assert found.files.fingerprint() == clean.files.fingerprint()


def test_links_to_folders_are_followed_once(tmp_path):
    root = tmp_path / "root"
    touch(root, "z/x.png", "z/deep/y.png")
    touch(tmp_path, "outside/o.png", "outside/more/p.png")
    link(root / "a", root / "z")  # sorts before the folder's own name, and must not take its place
    link(root / "z/deep/loop", root)
    link(root / "here", ".")
    link(root / "out", tmp_path / "outside")
    link(root / "out_again", tmp_path / "outside/more")  # a shorter way there than through `out`
    link(tmp_path / "outside/back", root / "z")
    found = list_images(root)
    assert paths_of(found.files) == ["out/o.png", "out_again/p.png", "z/deep/y.png", "z/x.png"]
    assert {name: len(images) for name, images in found.folders.items()} == {
        "a": 0, "here": 0, "out": 1, "out_again": 1, "z": 2
    }  # fmt: skip


def test_a_link_to_nowhere_is_listed_and_fails_when_read(tmp_path):
    link(tmp_path / "gone.png", tmp_path / "nowhere.png")
    link(tmp_path / "itself.png", tmp_path / "itself.png")
    found = list_images(tmp_path)
    assert paths_of(found.files) == ["gone.png", "itself.png"]
    assert found.files.sizes.tolist() == [-1, -1]
    assert not found.repeated().any()
    for path in find_images(tmp_path):
        with pytest.raises(BadImageError, match=path):
            open_image(tmp_path / path)


def test_a_file_is_listed_once_per_label(tmp_path):
    root = tmp_path / "root"
    touch(root, "b/1.png", "b/2.png")
    touch(tmp_path, "outside.png")
    link(root / "a/1.png", root / "b/1.png")
    link(root / "a/again.png", root / "a/1.png")
    link(root / "b/0.png", root / "b/1.png")
    link(root / "c/one.png", tmp_path / "outside.png")
    link(root / "c/two.png", tmp_path / "outside.png")
    found = list_images(root)
    everything = paths_of(found.files)
    assert everything == ["a/1.png", "a/again.png", "b/0.png", "b/1.png", "b/2.png", "c/one.png", "c/two.png"]

    def kept(labels):
        return [path for path, repeated in zip(everything, found.repeated(labels), strict=True) if not repeated]

    by_folder = np.array([0, 0, 1, 1, 1, 2, 2])
    assert kept(by_folder) == ["a/1.png", "b/1.png", "b/2.png", "c/one.png"]
    assert kept(None) == find_images(root) == ["b/1.png", "b/2.png", "c/one.png"]


def test_hard_links_are_files_of_their_own(tmp_path):
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").hardlink_to(tmp_path / "a.png")
    link(tmp_path / "c.png", tmp_path / "a.png")
    assert find_images(tmp_path) == ["a.png", "b.png"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="none: no such folder"):
        list_images(tmp_path / "none")
    touch(tmp_path, "file")
    with pytest.raises(DataError, match="is not a folder"):
        list_images(tmp_path / "file")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a/b/1.png")
    scandir = os.scandir

    def refuse(place):
        if os.fsdecode(place).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="a/b: Permission denied"):
        list_images(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="names of raw bytes are POSIX only")
def test_a_file_name_that_is_no_text_is_found(tmp_path):
    try:
        Image.new("RGB", (30, 20)).save(tmp_path / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes text only")
    (name,) = find_images(tmp_path)
    assert open_image(tmp_path / name).size == (30, 20)


def test_the_fingerprint_follows_the_folder_and_what_is_in_it(tmp_path):
    root = tmp_path / "root"
    touch(root, "a/1.png", "a/2.png", "b/1.png", size=10)

    def fingerprint():
        return list_images(root).files.fingerprint()

    seen = [fingerprint()]
    touch(root, "b/2.png", size=10)
    seen.append(fingerprint())
    (root / "a/1.png").unlink()
    seen.append(fingerprint())
    (root / "a/2.png").rename(root / "a/3.png")
    seen.append(fingerprint())
    touch(root, "b/1.png", size=11)
    seen.append(fingerprint())
    (root / "a").rename(root / "ab")
    seen.append(fingerprint())
    assert len(set(seen)) == 6
    shutil.copytree(root, tmp_path / "copy")
    os.utime(root / "b/1.png", (0, 0))
    assert list_images(tmp_path / "copy").files.fingerprint() == fingerprint() == seen[-1]


def test_the_fingerprint_tells_paths_and_labels_apart(tmp_path):
    one, other = (Listing.of(tmp_path, paths) for paths in (["a.png", "ba.png"], ["a.pngb", "a.png"]))
    assert one.text.tobytes() == other.text.tobytes()
    labels = np.array([0, 1])
    seen = {one.fingerprint(), other.fingerprint(), one.fingerprint(labels), one.fingerprint(labels[::-1])}
    assert len(seen) == 4
    assert one.fingerprint() == one.fingerprint(np.array([-1, -1]))
    assert one.fingerprint(labels) != one.fingerprint(labels[:, None])


def test_slow_disks_are_asked_by_many_threads(tmp_path, monkeypatch):
    touch(tmp_path, *[f"{number:02}/1.png" for number in range(40)])
    look, threads = os.stat, set()

    def slow(*arguments, **options):
        threads.add(threading.get_ident())
        time.sleep(0.02)
        return look(*arguments, **options)

    monkeypatch.setattr(os, "stat", slow)
    monkeypatch.setattr(index, "_CHUNK", 1)
    start = time.perf_counter()
    found = list_images(tmp_path)
    passed = time.perf_counter() - start
    assert paths_of(found.files) == [f"{number:02}/1.png" for number in range(40)]
    assert len(threads) > 8
    assert passed < 80 * 0.02 / 2  # one by one: 80 waits


def test_the_folder_may_be_named_in_any_way(tmp_path, monkeypatch):
    touch(tmp_path, "root/a/1.png")
    link(tmp_path / "link", tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    for name in (".", "../root", "../link", str(tmp_path / "link")):
        assert find_images(Path(name)) == ["a/1.png"]
