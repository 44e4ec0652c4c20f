import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sslkit import DataError
from sslkit.__main__ import main
from sslkit.fetch import fetch
from sslkit.sources import SOURCES, Archive, Source


class Server(ThreadingHTTPServer):
    """Serves bytes by path, and remembers what was asked and how much was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.asked = []  # (path, Range)
        self.knows_ranges = True
        self.stop_after = None  # bytes of an answer after which the connection breaks
        self.pause = 0.0  # seconds between blocks

    def put(self, name, content, **options):
        self.files[f"/{name}"] = content
        digest = hashlib.md5(content).hexdigest()
        return Archive(f"http://127.0.0.1:{self.server_port}/{name}", digest, 1, **options)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if content is None:
            self.send_error(404, "Not Found")
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.knows_ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:][: self.server.stop_after]
        try:
            for at in range(0, len(rest), 2**16):
                self.wfile.write(rest[at : at + 2**16])
                time.sleep(self.server.pause)
        except OSError:
            pass  # the client was killed

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def tar_of(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in files.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def zip_of(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def source_of(*archives, folder="toys"):
    return Source(folder, "http://toys.example", "free", archives)


def content_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_and_files_come_together_in_one_folder(server, tmp_path):
    source = source_of(
        server.put("a.tar.gz", tar_of({"jpg/1.jpg": b"one"}), unpack_to="toys"),
        server.put("b.tar", tar_of({"toys/jpg/2.jpg": b"two", "other/x": b"not wanted"}, "w")),
        server.put("labels.mat", b"labels", unpack_to="toys"),
        server.put(
            "c.zip", zip_of({"c/inner.tar.gz": tar_of({"3.jpg": b"three"}), "__MACOSX/x": b""}),
            unpack_to="toys/jpg", inner="c/inner.tar.gz",
        ),
        server.put("d.zip", zip_of({"toys/4.jpg": b"four"})),
    )  # fmt: skip
    told = []
    assert fetch("toys", source, tmp_path / "new" / "data", lambda *about: told.append(about))
    assert content_of(tmp_path / "new" / "data") == {
        "toys/jpg/1.jpg": b"one",
        "toys/jpg/2.jpg": b"two",
        "toys/labels.mat": b"labels",
        "toys/jpg/3.jpg": b"three",
        "toys/4.jpg": b"four",
    }
    assert ("labels.mat", 6, 6) in told


def test_what_is_there_is_never_touched(server, tmp_path):
    source = source_of(server.put("a.tar", tar_of({"toys/1": b"new"}, "w")))
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "1").write_bytes(b"mine")
    assert not fetch("toys", source, tmp_path)
    assert content_of(tmp_path) == {"toys/1": b"mine"}
    assert server.asked == []
    (tmp_path / "toys" / "1").unlink()
    assert fetch("toys", source, tmp_path)  # an empty folder is as good as none
    assert content_of(tmp_path) == {"toys/1": b"new"}


def test_a_folder_within_a_folder_that_is_there_already(server, tmp_path):
    (tmp_path / "kit" / "other").mkdir(parents=True)
    source = source_of(server.put("a.tar", tar_of({"kit/toys/1": b"1"}, "w")), folder="kit/toys")
    assert fetch("toys", source, tmp_path)
    assert sorted(path.name for path in (tmp_path / "kit").iterdir()) == ["other", "toys"]


@pytest.mark.parametrize("length", [0, -1])  # one byte changed, one byte too few
def test_another_file_than_the_published_one_is_removed(server, tmp_path, length):
    archive = server.put("a.tar", tar_of({"toys/1": b"1"}, "w"))
    content = bytearray(server.files["/a.tar"])
    content[600] ^= 1
    server.files["/a.tar"] = bytes(content[:length] if length else content)
    with pytest.raises(DataError, match=rf"a\.tar: what came has MD5 \w+, published is {archive.md5}; it is removed"):
        fetch("toys", source_of(archive), tmp_path)
    assert content_of(tmp_path) == {}
    assert not (tmp_path / "toys").exists()


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


UNSAFE = {
    "parent.tar": tar_of({"toys/1": b"1", "toys/../../outside": b"x"}, "w"),
    "absolute.tar": tar_of({"/outside": b"x"}, "w"),
    "symlink.tar": tar_of({"toys/1": link("toys/1", "/etc/passwd", tarfile.SYMTYPE)}, "w"),
    "hardlink.tar": tar_of({"toys/1": link("toys/1", "../../outside", tarfile.LNKTYPE)}, "w"),
    "device.tar": tar_of({"toys/1": link("toys/1", "", tarfile.CHRTYPE)}, "w"),
    "bomb.tar.gz": tar_of({"toys/1": b"\0" * 2**25}),
    "parent.zip": zip_of({"toys/1": b"1", "../outside": b"x"}),
    "absolute.zip": zip_of({"/outside": b"x"}),
    "drive.zip": zip_of({"C:/outside": b"x"}),
    "bomb.zip": zip_of({"toys/1": b"\0" * 2**25}, zipfile.ZIP_DEFLATED),
    "damaged.tar.gz": tar_of({"toys/1": os.urandom(5000)})[:-900],
    "damaged.zip": zip_of({"toys/1": b"1"})[:-9],
    "none.tar": b"no archive",
}
shortcut = zipfile.ZipInfo("toys/1")
shortcut.external_attr = 0o120777 << 16
UNSAFE["symlink.zip"] = zip_of({shortcut: "/etc/passwd"})


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_and_damaged_archives_are_refused_whole(server, tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: not unpacked: .*; nothing was put in place") as raised:
        fetch("toys", source_of(server.put(name, UNSAFE[name])), tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data" / "toys").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_broken_connection_goes_on_where_it_ended(server, tmp_path):
    archive = server.put("a.tar", tar_of({"toys/1": os.urandom(300_000)}, "w"))
    server.stop_after = 100_000
    for _ in range(2):
        with pytest.raises(DataError, match=r"the connection ended at .* bytes; the same command goes on"):
            fetch("toys", source_of(archive), tmp_path)
    server.stop_after = None
    assert fetch("toys", source_of(archive), tmp_path)
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=200000-"]
    assert list(content_of(tmp_path)) == ["toys/1"]


def test_a_server_that_cannot_go_on_starts_again(server, tmp_path):
    server.knows_ranges = False
    archive = server.put("a.tar", tar_of({"toys/1": os.urandom(300_000)}, "w"))
    server.stop_after = 100_000
    with pytest.raises(DataError):
        fetch("toys", source_of(archive), tmp_path)
    server.stop_after = None
    assert fetch("toys", source_of(archive), tmp_path)


def test_a_whole_file_left_behind_is_not_fetched_again(server, tmp_path):
    archive = server.put("a.tar", tar_of({"toys/1": b"1"}, "w"))
    work = tmp_path / ".sslkit-fetch-toys"
    work.mkdir()
    (work / "a.tar.part").write_bytes(server.files["/a.tar"])  # killed before it was renamed
    assert fetch("toys", source_of(archive), tmp_path)
    work.mkdir()
    (work / "a.tar").write_bytes(server.files["/a.tar"])  # killed while it was unpacked
    (work / "unpacked" / "toys").mkdir(parents=True)
    (work / "unpacked" / "toys" / "half").write_bytes(b"")
    (tmp_path / "toys").rename(tmp_path / "moved")
    server.asked.clear()
    assert fetch("toys", source_of(archive), tmp_path)
    assert server.asked == []
    assert content_of(tmp_path / "toys") == {"1": b"1"}


def test_a_killed_process_leaves_nothing_half_made(server, tmp_path):
    archive = server.put("a.tar", tar_of({"toys/1": os.urandom(3_000_000)}, "w"))
    server.pause = 0.05
    code = f"""
from pathlib import Path
from sslkit.fetch import fetch
from sslkit.sources import Archive, Source
fetch("toys", Source("toys", "", "", (Archive({archive.url!r}, {archive.md5!r}, 1),)), Path({str(tmp_path)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / ".sslkit-fetch-toys" / "a.tar.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "toys").exists()
    have = part.stat().st_size
    assert 0 < have < len(server.files["/a.tar"])
    server.pause = 0.0
    assert fetch("toys", source_of(archive), tmp_path)
    assert server.asked[-1] == ("/a.tar", f"bytes={have}-")
    assert [path.name for path in tmp_path.iterdir()] == ["toys"]


def test_no_network_is_one_line(server, tmp_path):
    here = f"http://127.0.0.1:{server.server_port}"
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for url, reason in ((f"{here}/b.tar", "HTTP Error 404: Not Found"), (f"{nobody}/a.tar", "Connection refused")):
        with pytest.raises(DataError) as raised:
            fetch("toys", source_of(Archive(url, "", 1)), tmp_path)
        assert str(raised.value).startswith(f"{url}: {reason}; the same command goes on from there, or see http://toys")


def test_a_place_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*: Not a directory; nothing was put in place"):
        fetch("toys", source_of(server.put("a.tar", b"")), tmp_path / "file")


def test_the_command_says_what_it_takes_and_what_it_did(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, "toys", source_of(server.put("a.tar", tar_of({"toys/1": b"1"}, "w"))))
    for ending in ("there, verified and unpacked", "already there; nothing was fetched"):
        assert main(["data", "fetch", "toys", "--data-root", str(tmp_path)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "toys: 1 MB; terms: free; from http://toys.example",
            f"{tmp_path / 'toys'}: {ending}",
        ]
