"""Fetches a public set: downloads, verifies, unpacks, and only then puts it where it belongs.

Enters: a set's source and the data root. Leaves: a folder in its official layout, complete, or nothing but a hidden
folder from which the same command goes on. Called by `sslkit data fetch` and by nothing else: sslkit never downloads
unasked.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import shutil
import ssl
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from sslkit.errors import DataError
from sslkit.sources import Archive, Source
from sslkit.text import one_line

_BLOCK: Final = 2**20  # bytes
_TIMEOUT_SECONDS: Final = 60
_MOST_TIMES_LARGER: Final = 20  # unpacked, than the archive; the sets' images hardly shrink

# What urllib raises where the network is at fault; other OSErrors are the disk's.
_NETWORK_ERRORS: Final = (
    urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError,
)  # fmt: skip

Report = Callable[[str, int, int], None]
"""Called with a file's name, the bytes that are there, and the bytes it has in all (0: not known)."""


def fetch(name: str, source: Source, data_root: Path, report: Report = lambda *_: None) -> bool:
    """Fetch one set, unless it is there already.

    Args:
        name: The set's.
        source: Where it comes from.
        data_root: The set becomes `data_root / source.folder`. Downloads lie in a hidden folder beside it until all is
            verified and unpacked; interrupted, the same call goes on from there.
        report: Told of progress.

    Returns:
        Whether anything was fetched; False if the folder is there, of which nothing is touched.

    Raises:
        DataError: No network, a file other than the published one, an archive that is not safe to unpack, no room.
    """
    target = data_root / source.folder
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        return False
    if not source.archives:
        raise DataError(f"{name} cannot be fetched: {source.by_hand}; see {source.page}")
    work = data_root / f".sslkit-fetch-{name}"
    unpacked = work / "unpacked"
    try:
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unpacked, ignore_errors=True)  # of an earlier, interrupted call
        try:
            files = [_download(archive, source.page, work, report) for archive in source.archives]
        except DataError:
            with contextlib.suppress(OSError):
                work.rmdir()  # unless something came, to go on from
            raise
        for archive, file in zip(source.archives, files, strict=True):
            place = unpacked / archive.unpack_to
            place.mkdir(parents=True, exist_ok=True)
            _unpack(file, place, archive.inner)
        if not (unpacked / source.folder).is_dir():
            raise DataError(
                f"{one_line(files[0])}: holds no {source.folder}/; this is a fault of sslkit, please report it"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        (unpacked / source.folder).rename(target)
    except OSError as error:
        raise DataError(
            f"{one_line(error.filename or work)}: {error.strerror or error}; nothing was put in place"
        ) from error
    shutil.rmtree(work, ignore_errors=True)
    return True


def _download(archive: Archive, page: str, work: Path, report: Report) -> Path:
    """Return the verified file, going on with what an earlier call has left."""
    file = work / PurePosixPath(urlsplit(archive.url).path).name
    if not file.exists():
        part = file.with_name(f"{file.name}.part")
        try:
            _receive(archive.url, part, report)
        except _NETWORK_ERRORS as error:
            cause = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
            reason = one_line(getattr(cause, "strerror", None) or cause)
            raise DataError(f"{archive.url}: {reason}; the same command goes on from there, or see {page}") from error
        found = _md5(part)
        if found != archive.md5:
            part.unlink()
            raise DataError(
                f"{archive.url}: what came has MD5 {found}, published is {archive.md5}; it is removed, try again later"
            )
        part.rename(file)
    return file


def _receive(url: str, part: Path, report: Report) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "sslkit"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: the hash will tell whether it is whole
            return
        raise
    with response:
        if response.status != 206:  # the server sends it from the beginning
            have = 0
        rest = int(response.headers.get("Content-Length") or 0)
        total = have + rest if rest else 0
        with part.open("ab" if have else "wb") as out:
            for block in iter(lambda: response.read(_BLOCK), b""):
                out.write(block)
                have += len(block)
                report(part.stem, have, total)
    if have < total:
        raise http.client.HTTPException(f"the connection ended at {have:,} of {total:,} bytes")


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _UnsafeError(Exception):
    """What an archive must not hold."""


def _unpack(file: Path, place: Path, inner: str | None) -> None:
    """Unpack an archive into a folder, or the archive within it; put any other file there as it is."""
    room = max(_MOST_TIMES_LARGER * file.stat().st_size, _BLOCK)
    try:
        if inner is not None:
            within = file.with_name(f"{file.name}.inner")
            shutil.rmtree(within, ignore_errors=True)
            _unpack(file, within, None)
            _unpack(within / inner, place, None)
        elif file.name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(file) as tar:
                for member in tar:
                    room = _require_safe(member.name, member.isfile() or member.isdir(), room - member.size)
                    tar.extract(member, place, filter="data")
        elif file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    kind = stat.S_IFMT(entry.external_attr >> 16)
                    room = _require_safe(
                        entry.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), room - entry.file_size
                    )
                    archive.extract(entry, place)
        else:
            shutil.copy(file, place)
    except (_UnsafeError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{one_line(file)}: not unpacked: {one_line(error)}; nothing was put in place") from error


def _require_safe(name: str, is_plain: bool, room: int) -> int:
    """Return the room that is left, once a member has been found to be plain, to stay inside, and to fit."""
    if not is_plain:
        raise _UnsafeError(f"{name!r} is a link or a device")
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise _UnsafeError(f"{name!r} lies outside")
    if room < 0:
        raise _UnsafeError("it unpacks to far more than it should")
    return room
