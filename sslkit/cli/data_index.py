"""List a folder of images: how many, how large, what is ignored, and the fingerprint of the list.

Examples:
  sslkit data index ~/photos
  sslkit data index ~/photos --hash

The fingerprint is over paths and sizes. --hash reads every file as well, and names those whose bytes changed since
the last --hash of the folder although path and size did not; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_THREADS = 8  # reading and hashing both leave the interpreter alone
_CHUNK = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="images, in any depth of folders")
    parser.add_argument("--hash", action="store_true", help="read every file, and compare with the last --hash")


def main(arguments: argparse.Namespace) -> int:
    """List the folder, and hash its files if asked to."""
    import numpy as np
    from rich.filesize import decimal

    from sslkit.errors import DataError
    from sslkit.index import list_images
    from sslkit.text import one_line

    found = list_images(arguments.folder)
    files = found.distinct()
    if not len(files):
        raise DataError(f"{one_line(arguments.folder)}: holds no images")
    paths = [files.path(position) for position in range(len(files))]
    folders = len({path.rpartition("/")[0] for path in paths})
    size = int(np.maximum(files.sizes, 0).sum())
    _print("images", f"{len(files):,} in {folders:,} folder{'s' if folders > 1 else ''}, {decimal(size)}")
    if found.ignored:
        _print("ignored", f"{found.ignored:,}, such as {', '.join(found.examples)}")
    if repeated := len(found.files) - len(files):
        _print("links", f"{repeated:,} left out: the files themselves are listed")
    _print("fingerprint", files.fingerprint())
    return _hash(arguments.folder, dict(zip(paths, files.sizes.tolist(), strict=True))) if arguments.hash else 0


def _hash(folder: Path, sizes: Mapping[str, int]) -> int:
    """Print and store the SHA-256 of a folder's files; return the exit code."""
    from sslkit.run_folder import write_text
    from sslkit.text import one_line

    store = _store(folder)
    before = _stored(store)
    digests: dict[str, tuple[int, str]] = {}
    content = hashlib.sha256()
    compared = changed = 0
    for path, size, digest in zip(sizes, sizes.values(), _digests(folder, list(sizes)), strict=True):
        if isinstance(digest, OSError):
            _print("not read", f"{path}: {digest.strerror or digest}")
            continue
        digests[path] = (size, digest)
        content.update(os.fsencode(path) + b"\0" + bytes.fromhex(digest))
        old_size, old_digest = before.get(path, (None, None))
        compared += size == old_size
        if size == old_size and digest != old_digest:
            changed += 1
            _print("changed", f"{path}: other bytes than at the last --hash, of the same size")
    unread = len(sizes) - len(digests)
    _print("content", content.hexdigest() + (f" without {unread:,} that could not be read" if unread else ""))
    _print("compared", f"{compared:,} with the last --hash, {changed:,} changed" if before else "nothing: first --hash")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        write_text(store, json.dumps(digests))
    except OSError as error:
        _print("not stored", f"{store}: {one_line(error)}; the next --hash cannot compare")
    return int(changed > 0)


def _digests(folder: Path, paths: Sequence[str]) -> Iterator[str | OSError]:
    """Yield the SHA-256 of each file, or why it could not be read."""

    def digest(path: str) -> str | OSError:
        try:
            with (folder / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return error

    chunks = (paths[first : first + _CHUNK] for first in range(0, len(paths), _CHUNK))
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in pool.map(lambda chunk: [digest(path) for path in chunk], chunks):
            yield from part


def _store(folder: Path) -> Path:
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return Path.home() / ".cache" / "sslkit" / "hashes" / f"{key}.json"


def _stored(store: Path) -> dict[str, tuple[int, str]]:
    try:
        return {path: (int(size), str(digest)) for path, (size, digest) in json.loads(store.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged
        return {}


def _print(what: str, text: str) -> None:
    from sslkit.text import one_line

    sys.stdout.write(f"{what:11}  {one_line(text, 1000)}\n")
