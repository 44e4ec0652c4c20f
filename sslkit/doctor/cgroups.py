"""What a container or a scheduler allows these processes: Linux's control groups, versions 1 and 2.

Enters: the files of `/proc` and `/sys`. Leaves: bytes of memory, cores' worth of time; None where there is no limit.
Called by `machine`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NO_LIMIT: Final = 2**60  # version 1 says "none" by a number of this size


def memory_limit(root: Path) -> int | None:
    """Return the bytes that these processes may use together.

    Args:
        root: Of the file system.
    """
    limits = []
    for folder in _folders(root, "memory"):
        text = (read(folder / "memory.max") or read(folder / "memory.limit_in_bytes")).strip()
        if text.isdecimal() and int(text) < _NO_LIMIT:
            limits.append(int(text))
    return min(limits, default=None)


def cores_limit(root: Path) -> float | None:
    """Return how many cores' time these processes get together.

    Args:
        root: Of the file system.
    """
    limits = []
    for folder in _folders(root, "cpu"):
        text = read(folder / "cpu.max") or f"{read(folder / 'cpu.cfs_quota_us')} {read(folder / 'cpu.cfs_period_us')}"
        words = text.split()
        if len(words) == 2 and all(word.isdecimal() for word in words):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=None)


def read(path: Path) -> str:
    """Return a file's text, or nothing if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield this process's group and those around it: a limit of any of them holds."""
    for line in read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers  # version 2 has one tree, and names no controller
        folder = top / path.lstrip("/")  # not there inside a container, whose own group is the top
        yield from (place for place in (folder, *folder.parents) if place.is_relative_to(top))
