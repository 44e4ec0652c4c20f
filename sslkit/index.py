"""Image files found in folders: their paths and sizes, as arrays that workers share.

Enters: a folder. Leaves: relative paths, sizes in bytes, what was left out. Called by `builtin/data`, by features,
audit and `sslkit data index`. A folder is listed anew at every start, in parallel, so that nothing out of date is
ever believed.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from sslkit.errors import DataError
from sslkit.images import IMAGE_SUFFIXES
from sslkit.text import one_line

_SUFFIXES = frozenset(suffix.encode() for suffix in IMAGE_SUFFIXES)
_NO_IMAGES = frozenset({b"__MACOSX", b"Thumbs.db"})  # left by macOS's zip and by Windows Explorer
_THREADS = 16  # they wait for disks, above all for network disks, not for each other
_PATIENCE_SECONDS = 0.05
_CHUNK = 1000
_EXAMPLES = 3

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, eq=False)
class Listing:
    """Files by path and size.

    The paths are one array of bytes, not a list of strings: a worker that reads a Python object writes its
    reference count, and so copies the page that it shared with the main process.

    Attributes:
        folder: What the paths are relative to.
        text: uint8, the bytes of all paths one behind the other, with `/` on every system.
        ends: int64 [n + 1], where each path ends in `text`, behind a first 0.
        sizes: int64 [n], in bytes; -1 for a file that is not there.
    """

    folder: Path
    text: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, folder: Path, paths: Sequence[str]) -> Listing:
        """Return the listing of known paths, in their order; absolute ones may be among them."""
        encoded = [os.fsencode(path) for path in paths]
        with ThreadPoolExecutor(_THREADS) as pool:
            return _listing(folder, encoded, _look(pool, folder, encoded)[:, 0].copy())

    def __len__(self) -> int:
        return len(self.sizes)

    def path(self, index: int) -> str:
        """Return one path.

        Raises:
            IndexError: There is no such file.
        """
        position = range(len(self))[index]
        return os.fsdecode(self.text[self.ends[position] : self.ends[position + 1]].tobytes())

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield relative path and size in bytes of every file, in their order."""
        text = self.text.tobytes()
        for (start, end), size in zip(itertools.pairwise(self.ends.tolist()), self.sizes.tolist(), strict=True):
            yield os.fsdecode(text[start:end]), size

    def take(self, positions: npt.NDArray[np.int64]) -> Listing:
        """Return the listing of some of the files, int64 [k], in the order given."""
        starts, ends = self.ends[:-1][positions], self.ends[1:][positions]
        text = self.text.data
        chosen = [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return _listing(self.folder, chosen, np.asarray(self.sizes)[positions])

    def fingerprint(self, labels: npt.NDArray[Any] | None = None) -> str:
        """Return a SHA-256 over the (relative path, size in bytes, label) of all files, in their order.

        It looks at no file again, and does not change when the folder moves.

        Args:
            labels: int64 [n], or another type and shape [n, …]; default: -1 for all.
        """
        labels = np.full(len(self), -1, dtype=np.int64) if labels is None else labels
        digest = hashlib.sha256(f"sslkit listing 1: {len(self)} {labels.dtype.str} {labels.shape}\n".encode())
        for array in (self.ends, self.sizes, labels, self.text):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


class FoundImages(NamedTuple):
    """What a folder holds.

    Attributes:
        files: The images, sorted by the bytes of their paths.
        folders: For each folder in the folder itself, the positions of the images below it; maybe none.
        ignored: Number of entries that were left out; a folder is one entry, whatever it holds.
        examples: Some of their names.
        aliases: int64 [k, 3]: position, number of the file behind it, and 1 for a link, 0 for the file's own
            name; of all files that a link leads to and that are listed more than once, own names first.
    """

    files: Listing
    folders: dict[str, range]
    ignored: int
    examples: tuple[str, ...]
    aliases: npt.NDArray[np.int64]

    def repeated(self, labels: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.bool_]:
        """Return which links, bool [n], lead to a file listed before them with the same label, int64 [n], if any."""
        repeated = np.zeros(len(self.files), dtype=np.bool_)
        seen: set[tuple[int, int]] = set()
        for position, file, is_link in self.aliases.tolist():
            identity = (file, 0 if labels is None else int(labels[position]))
            repeated[position] = is_link and identity in seen
            seen.add(identity)
        return repeated

    def distinct(self) -> Listing:
        """Return the images without links to those that are listed anyway."""
        return self.files.take(np.flatnonzero(~self.repeated()))


def list_images(folder: Path) -> FoundImages:
    """Return the image files under a folder.

    Hidden files and folders, `__MACOSX`, `Thumbs.db` and files with other suffixes are left out. Links to folders
    are followed, but each folder is listed once: by its own name if it has one below `folder`, else by the
    shortest way, and the first by name of several such. A link that leads nowhere is listed: it must fail when
    read, not shrink the data unseen.

    Args:
        folder: Where to look, at any depth.

    Raises:
        DataError: The folder, or one in it, does not exist or cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{one_line(folder)}: {'is not a folder' if folder.exists() else 'no such folder'}")
    files, ignored, first_folders = list[bytes](), list[bytes](), list[bytes]()
    file_links: set[bytes] = set()
    seen: set[tuple[int, int]] = set()
    level, links = [b""], list[bytes]()
    with ThreadPoolExecutor(_THREADS) as pool:
        while level:
            deeper: list[bytes] = []
            for scan in _spread(pool, functools.partial(_scan, os.fsencode(folder)), level):
                if scan.identity in seen:
                    continue
                seen.add(scan.identity)
                files += scan.files + scan.file_links
                file_links.update(scan.file_links)
                ignored += scan.ignored
                deeper += scan.folders
                links += scan.links
            if level == [b""]:
                first_folders = deeper + links
            # Links wait until the real names are through, which are to win over theirs.
            level, links = (sorted(deeper), links) if deeper else (sorted(links), [])
        files.sort()
        looks = _look(pool, folder, files)
    return FoundImages(
        _listing(folder, files, looks[:, 0].copy()),
        _ranges(files, first_folders),
        len(ignored),
        tuple(os.fsdecode(name) for name in sorted(set(ignored))[:_EXAMPLES]),
        _aliases(files, file_links, looks),
    )


def find_images(folder: Path) -> list[str]:
    """Return the image files under a folder, as sorted relative paths with `/` on every system.

    As `list_images`, but links to files that are listed anyway are left out.

    Args:
        folder: Where to look, at any depth.

    Raises:
        DataError: The folder, or one in it, does not exist or cannot be read.
    """
    files = list_images(folder).distinct()
    return [files.path(position) for position in range(len(files))]


class _Scan(NamedTuple):
    """The entries of one folder; all but `ignored` as paths relative to the listed folder."""

    identity: tuple[int, int]
    folders: list[bytes]
    links: list[bytes]
    files: list[bytes]
    file_links: list[bytes]
    ignored: list[bytes]


def _scan(folder: bytes, here: bytes) -> _Scan:
    place = os.path.join(folder, here)  # noqa: PTH118 pathlib takes no bytes
    try:
        status = os.stat(place)  # noqa: PTH116
        scan = _Scan((status.st_dev, status.st_ino), [], [], [], [], [])
        with os.scandir(place) as entries:
            for entry in entries:
                kind = None if entry.name.startswith(b".") or entry.name in _NO_IMAGES else _kind(entry)
                if kind is None:
                    scan.ignored.append(entry.name)
                else:
                    getattr(scan, kind).append(b"%b/%b" % (here, entry.name) if here else entry.name)
    except OSError as error:
        raise DataError(f"{one_line(os.fsdecode(place))}: {error.strerror or error}") from error
    return scan


def _kind(entry: os.DirEntry[bytes]) -> str | None:
    """Return the field of _Scan that an entry belongs to, None for an entry of no interest."""
    is_image = entry.name[entry.name.rfind(b".") :].lower() in _SUFFIXES
    if entry.is_dir(follow_symlinks=False):
        return "folders"
    if not entry.is_symlink():
        return "files" if is_image and entry.is_file(follow_symlinks=False) else None
    try:
        mode = entry.stat().st_mode
    except OSError:  # it leads nowhere, round in a circle, or where we may not look
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        return "links"
    return "file_links" if is_image and stat.S_ISREG(mode) else None


def _look(pool: Executor, folder: Path, paths: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Return size in bytes, device and inode of each file, int64 [n, 3]; -1 where it is not there."""
    start = os.fsencode(folder)

    def look(path: bytes) -> tuple[int, int, int]:
        try:
            status = os.stat(os.path.join(start, path))  # noqa: PTH116, PTH118 pathlib takes no bytes, and its time
        except (OSError, ValueError):
            return -1, -1, -1
        return status.st_size, status.st_dev % 2**63, status.st_ino % 2**63

    chunks = (paths[first : first + _CHUNK] for first in range(0, len(paths), _CHUNK))
    looks = _spread(pool, lambda chunk: [look(path) for path in chunk], chunks)
    return np.array(list(itertools.chain.from_iterable(looks)), dtype=np.int64).reshape(-1, 3)


def _spread(pool: Executor, function: Callable[[_In], _Out], items: Iterable[_In]) -> Iterator[_Out]:
    """Map in this thread as long as it works; in the pool's, once it mostly waits for a disk.

    Threads that have work hinder each other: 100,000 files in a warm file system took 16 of them twice as long.
    """
    items = iter(items)
    passed = worked = 0.0
    for item in items:
        start, start_of_work = time.perf_counter(), time.thread_time()
        yield function(item)
        worked += time.thread_time() - start_of_work
        passed += time.perf_counter() - start
        if passed > _PATIENCE_SECONDS and worked < passed / 2:
            yield from pool.map(function, items)


def _listing(folder: Path, paths: Sequence[bytes | memoryview], sizes: npt.NDArray[np.int64]) -> Listing:
    ends = np.cumsum([0, *map(len, paths)], dtype=np.int64)
    return Listing(folder, np.frombuffer(b"".join(paths), dtype=np.uint8), ends, sizes)


def _ranges(paths: Sequence[bytes], folders: Iterable[bytes]) -> dict[str, range]:
    """Return the positions of the paths below each folder: together, because paths with one beginning sort so."""
    ranges = {os.fsdecode(name): range(0) for name in sorted(folders)}
    position = 0
    for name, group in itertools.groupby(paths, key=lambda path: path[: path.find(b"/") + 1]):
        start, position = position, position + sum(1 for _ in group)
        if name:
            ranges[os.fsdecode(name[:-1])] = range(start, position)
    return ranges


def _aliases(paths: Sequence[bytes], links: set[bytes], looks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `FoundImages.aliases`, by device and inode."""
    names: dict[tuple[int, int], list[int]] = {}
    is_link = np.fromiter((path in links for path in paths), dtype=np.bool_, count=len(paths))
    for position in np.flatnonzero(is_link & (looks[:, 0] >= 0)).tolist():
        names.setdefault((looks[position, 1], looks[position, 2]), []).append(position)
    inodes = np.array([inode for _, inode in names], dtype=np.int64)
    for position in np.flatnonzero(~is_link & np.isin(looks[:, 2], inodes)).tolist():
        if (own_name_of := (looks[position, 1], looks[position, 2])) in names:
            names[own_name_of].insert(0, position)
    groups = [group for group in names.values() if len(group) > 1]
    rows = [(position, file, is_link[position]) for file, group in enumerate(groups) for position in group]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
