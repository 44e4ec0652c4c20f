"""Where the samples of tar files lie: found in one pass over the headers, no image is read.

Enters: shards, and which members are wanted. Leaves: arrays of positions in them. Called by `tar_shards`, which
keeps the arrays in the cache. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import json
import os
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sslkit import IMAGE_SUFFIXES, DataError, one_line
from sslkit.builtin.data.shard_files import Shard

HEADER = 512
"""Bytes in front of a member's content. Source: POSIX.1-1988, ustar."""

_THREADS = 16  # they wait for the disk together; more of them would wait for Python


class Wanted(NamedTuple):
    """Which members of a sample count, by their extensions: lower case, without the first dot.

    Attributes:
        image: The image's; None takes any extension that images have.
        label: The label's; None where there are no labels.
        label_key: Where the label is in a JSON member.
        must_have_label: Whether it is a fault if no sample has one.
    """

    image: str | None
    label: str | None
    label_key: str
    must_have_label: bool


def index_shards(shards: Sequence[Shard], wanted: Wanted) -> dict[str, np.ndarray[Any, Any]]:
    """Return where the images of shards lie, and their labels as they are written.

    Returns:
        `shard` int32 [n], position in `shards`; `offset` and `size` int64 [n], bytes; `header` uint32 [n], CRC-32
        of the member's header; `names` uint8 and `ends` int64 [n + 1], the members' names in one text; `which`
        int32 [n], position in `labels`, -1 for none; `labels`, the distinct ones as bytes; `left_out` int64
        [2], members without a key and samples without an image.

    Raises:
        DataError: A shard is damaged or cut short, a sample has two images or a label without one, or there is no
            sample at all.
    """
    parts = _index_all(shards, wanted)
    images = [
        (number, image, part.labels.get(key)) for number, part in enumerate(parts) for key, image in part.images.items()
    ]
    extensions = ", ".join(sorted(set().union(*(part.extensions for part in parts)))[:10])
    if not images:
        raise DataError(
            f"{one_line(shards[0].path)}: no image in {len(shards)} shards; members end in "
            f'{one_line(extensions) or "nothing"}: say which is the image, `image = "..."`'
        )
    labels = sorted({label for _, _, label in images if label is not None})
    if wanted.must_have_label and not labels:
        raise DataError(
            f"{one_line(shards[0].path)}: no {one_line(wanted.label)} member in {len(shards)} shards; members end in "
            f"{one_line(extensions)}"
        )
    positions = {label: position for position, label in enumerate(labels)} | {None: -1}
    names = [os.fsencode(image.name) for _, image, _ in images]
    return {
        "shard": np.array([number for number, _, _ in images], dtype=np.int32),
        "offset": np.array([image.offset for _, image, _ in images], dtype=np.int64),
        "size": np.array([image.size for _, image, _ in images], dtype=np.int64),
        "header": np.array([image.header for _, image, _ in images], dtype=np.uint32),
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "ends": np.cumsum([0, *map(len, names)]),
        "which": np.array([positions[label] for _, _, label in images], dtype=np.int32),
        "labels": np.array([label.encode() for label in labels], dtype=np.bytes_),
        "left_out": np.array(
            [
                sum(part.without_key for part in parts),
                sum(len(part.keys - part.images.keys()) for part in parts),
            ]
        ),
    }


class _Image(NamedTuple):
    name: str
    offset: int
    size: int
    header: int


@dataclass
class _Part:
    """What one shard holds, by key."""

    images: dict[str, _Image] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    without_key: int = 0


def _index_all(shards: Sequence[Shard], wanted: Wanted) -> list[_Part]:
    """Index the first shard here, and the others in threads if it mostly waited for the disk.

    Threads that have work hinder each other: with 10 shards in memory, 16 of them took twice as long as one.
    """
    start, start_of_work = time.perf_counter(), time.thread_time()
    first = _index(shards[0], wanted)
    waits = time.thread_time() - start_of_work < (time.perf_counter() - start) / 2
    with ThreadPoolExecutor(_THREADS if waits else 1) as pool:
        return [first, *pool.map(lambda shard: _index(shard, wanted), shards[1:])]


def _index(shard: Shard, wanted: Wanted) -> _Part:
    part = _Part()
    with Path(shard.path).open("rb", buffering=0) as file:  # a buffer would fill with image bytes
        for member in _members(shard, file):
            if member.isdir():
                continue
            key, extension = _split(member.name)
            if not key:
                part.without_key += 1
                continue
            part.keys.add(key)
            part.extensions.add(extension)
            is_image = extension == wanted.image if wanted.image else f".{extension}" in IMAGE_SUFFIXES
            if not is_image and extension != wanted.label:
                continue
            if not member.isreg() or member.issparse():
                raise _refused(shard, member.name, "a link; pack with `tar --dereference --hard-dereference`")
            if not is_image:
                if key in part.labels:
                    raise _refused(shard, member.name, "a second label of its sample")
                content = os.pread(file.fileno(), member.size, member.offset_data)
                try:
                    part.labels[key] = _label(content, wanted)
                except ValueError as error:
                    raise _refused(shard, member.name, str(error)) from None
            elif key in part.images:
                other = one_line(part.images[key].name)
                raise _refused(
                    shard, member.name, f'a second image of its sample, beside {other}; say which, `image = "..."`'
                )
            else:
                header = os.pread(file.fileno(), HEADER, member.offset_data - HEADER)
                part.images[key] = _Image(member.name, member.offset_data, member.size, zlib.crc32(header))
    for key in sorted(part.labels.keys() - part.images.keys()):
        raise _refused(shard, key, "has a label, but no image")
    return part


def _refused(shard: Shard, member: str, reason: str) -> DataError:
    return DataError(f"{one_line(shard.path)}!{one_line(member)}: {reason}")


def _split(name: str) -> tuple[str, str]:
    """Return key and extension: they part at the first dot behind the last slash; no key if there is none."""
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    return (folder + slash + stem if stem and dot else "", extension.lower())


def _members(shard: Shard, file: FileIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar that is complete up to its end mark, which tarfile itself does not ask for."""
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or a shard's headers would all stay in memory
                yield member
                end = tar.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise _damaged(shard, end) from error
    file.seek(end)
    rest = file.read(1024)
    if len(rest) < 1024 or any(rest):
        raise _damaged(shard, end)
    while block := file.read(1 << 20):
        if any(block):
            raise DataError(
                f"{one_line(shard.path)}: more data behind its end mark at byte {end:,}; tar files put together "
                "with `cat` must be separate shards"
            )


def _damaged(shard: Shard, place: int) -> DataError:
    if place == 0:
        return DataError(f"{one_line(shard.path)}: no tar file, or damaged at its beginning; fetch or pack it again")
    place = min(place, shard.size)  # the last member may claim more than there is
    return DataError(
        f"{one_line(shard.path)}: damaged or cut short at byte {place:,} of {shard.size:,}; fetch or pack it again"
    )


def _label(content: bytes, wanted: Wanted) -> str:
    """Return a label as text.

    Raises:
        ValueError: It is none; says why.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("a label that is not text in UTF-8") from None
    if wanted.label is None or wanted.label.rpartition(".")[2] != "json":
        return text.strip()
    try:
        label = json.loads(text)[wanted.label_key]
    except json.JSONDecodeError as error:
        raise ValueError(f"a label that is not JSON: {one_line(error)}") from None
    except (TypeError, LookupError):
        raise ValueError(f'no key "{one_line(wanted.label_key)}"; say which, `label_key = "..."`') from None
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise ValueError(f"a label must be a whole number or text, not {one_line(json.dumps(label), 60)}")
    return str(label).strip()
