"""Which tar files a recipe means: names, globs and ranges, found on the disk.

Enters: patterns. Leaves: plain tar files, each once, in order. Called by `tar_shards`.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit import DataError, did_you_mean, one_line

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")

# First bytes of what cannot be read at random, and what makes a plain tar of it.
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class Shard(NamedTuple):
    """One tar file.

    Attributes:
        path: Where it is.
        name: Its name in messages and fingerprints: relative to the data's root, if it lies below.
        size: Bytes.
        changed: Time of the last change, ns.
    """

    path: str
    name: str
    size: int
    changed: int


def find_shards(root: Path, patterns: Sequence[str]) -> list[Shard]:
    """Return the tar files that patterns name, each once: in the order of the patterns, those of a glob sorted.

    Args:
        root: The folder that the patterns are relative to.
        patterns: File names, in which `{000..146}` and `{a,b}` are expanded; then `*`, `?` and `[]` match names.

    Raises:
        DataError: One is not there, matches nothing, or is no plain tar file on this disk.
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern or pattern.startswith("pipe:"):
            raise DataError(f"{one_line(pattern)}: not a file; reading at random needs shards on a disk")
        for name in _expanded(pattern):
            # Path.glob takes no absolute patterns.
            matches = [name] if (root / name).is_file() else sorted(glob.glob(name, root_dir=root))  # noqa: PTH207
            if not matches:
                near = did_you_mean(name, (path.name for path in root.glob("*.tar")))
                raise DataError(f"{one_line(root / name)}: no such shard{near}")
            names |= dict.fromkeys(matches)
    return [_shard(root, name) for name in names]


def _expanded(pattern: str) -> list[str]:
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [name for choice in _choices(braces[1], pattern) for name in _expanded(before + choice + after)]


def _choices(text: str, pattern: str) -> list[str]:
    limits = _RANGE.fullmatch(text)
    if limits is None:
        if "," not in text:
            raise DataError(f"{one_line(pattern)}: {{{one_line(text)}}} is neither a range {{000..146}} nor {{a,b}}")
        return text.split(",")
    first, last = limits.groups()
    if int(first) > int(last):
        raise DataError(f"{one_line(pattern)}: the range {{{text}}} runs backwards")
    width = max(len(first), len(last)) if first.startswith("0") else 0
    return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]


def _shard(root: Path, name: str) -> Shard:
    path = root / name
    try:
        with path.open("rb") as file:
            beginning = file.read(8)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"{one_line(path)}: {error.strerror or error}") from None
    for magic, command in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise DataError(f"{one_line(path)}: compressed, but reading at random needs a plain tar; {command} it")
    return Shard(str(path), name, status.st_size, status.st_mtime_ns)
