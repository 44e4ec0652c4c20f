from __future__ import annotations

import os
import shutil

import pytest

from sslkit.__main__ import main
from sslkit.builtin.data.image_folder import ImageFolder


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Return a folder of three files that need be no images: indexing opens none."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "photos"
    for path, content in (("a/1.jpg", b"one"), ("a/2.jpg", b"two"), ("3.png", b"three")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def index(capsys):
    """Return a function that runs `sslkit data index`, and returns its exit code and what it says of what."""

    def run(*arguments):
        code = main(["data", "index", *map(str, arguments)])
        lines = capsys.readouterr().out.splitlines()
        return code, [(line[:11].rstrip(), line[13:]) for line in lines]

    return run


def test_a_folder_is_listed(photos, index):
    code, said = index(photos)
    fingerprint = ImageFolder(photos).split("train").fingerprint()
    assert (code, said) == (0, [("images", "3 in 2 folders, 11 bytes"), ("fingerprint", fingerprint)])
    (photos / "Thumbs.db").write_bytes(b"")
    (photos / "4.png").symlink_to("3.png")
    (photos / "a/1.jpg").write_bytes(b"x" * 2_000_000)
    code, said = index(photos)
    assert said[:3] == [
        ("images", "3 in 2 folders, 2.0 MB"),
        ("ignored", "1, such as Thumbs.db"),
        ("links", "1 left out: the files themselves are listed"),
    ]
    assert said[3] != ("fingerprint", fingerprint)


def test_changed_bytes_are_named(photos, index):
    code, first = index(photos, "--hash")
    assert (code, first[3]) == (0, ("compared", "nothing: first --hash"))
    assert index(photos, "--hash") == (0, [*first[:3], ("compared", "3 with the last --hash, 0 changed")])
    (photos / "a/2.jpg").write_bytes(b"owt")
    os.utime(photos / "a/2.jpg", (0, 0))
    code, said = index(photos, "--hash")
    assert code == 1
    assert said[1] == first[1]
    assert said[2] == ("changed", "a/2.jpg: other bytes than at the last --hash, of the same size")
    assert said[3][0] == "content"
    assert said[3] != first[2]
    assert said[4] == ("compared", "3 with the last --hash, 1 changed")
    assert index(photos, "--hash")[0] == 0


def test_another_size_or_name_is_no_hidden_change(photos, index):
    index(photos, "--hash")
    (photos / "a/1.jpg").write_bytes(b"longer")
    (photos / "a/2.jpg").rename(photos / "a/5.jpg")
    code, said = index(photos, "--hash")
    assert (code, said[-1]) == (0, ("compared", "1 with the last --hash, 0 changed"))


def test_the_content_does_not_depend_on_the_place(photos, index, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    assert index(photos, "--hash") == index(tmp_path / "copy", "--hash")


def test_files_that_cannot_be_read_do_not_end_it(photos, index):
    (photos / "gone.png").symlink_to("nowhere.png")
    code, said = index(photos, "--hash")
    assert (code, said[0]) == (0, ("images", "4 in 2 folders, 11 bytes"))
    assert said[2] == ("not read", "gone.png: No such file or directory")
    assert said[3][1].endswith(" without 1 that could not be read")


def test_a_damaged_store_is_no_store(photos, index, tmp_path):
    index(photos, "--hash")
    (store,) = (tmp_path / "home/.cache/sslkit/hashes").iterdir()
    for content in (b"", b"\xff", b"[1]", b'{"a/1.jpg": 3}'):
        store.write_bytes(content)
        assert index(photos, "--hash")[1][-1] == ("compared", "nothing: first --hash")
    assert index(photos, "--hash")[1][-1] == ("compared", "3 with the last --hash, 0 changed")


def test_a_home_that_cannot_be_written_is_said(photos, index, tmp_path):
    (tmp_path / "home").write_text("a file")
    code, said = index(photos, "--hash")
    assert (code, said[-1][0]) == (0, "not stored")


def test_mistakes_are_one_line(tmp_path, capsys):
    for folder, problem in ((tmp_path / "none", "no such folder"), (tmp_path, "holds no images")):
        assert main(["data", "index", str(folder)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"error: {folder}: {problem}"


def test_a_hostile_name_does_not_reach_the_terminal(photos, index):
    (photos / "\x1b[2Jevil\n.png").symlink_to("nowhere")
    _, said = index(photos, "--hash")
    assert ("not read", "\\x1b[2Jevil .png: No such file or directory") in said
