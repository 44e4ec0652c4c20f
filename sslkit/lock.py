"""One run per folder: a lock that the system lets go of when its process ends, however that ends.

Enters: a folder. Leaves: it is this process's own inside the block, or one line that says whose it is. Imports no
torch. Called by `engine.run`, in the first process of a run only.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RunError
from sslkit.text import one_line

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME: Final = ".lock"

WAIT_SECONDS: Final = 5.0
"""How long a killed run may take to be gone: its last moments should not look like another run."""

_BUSY: Final = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)

_held: dict[Path, dict[str, Any]] = {}  # the system's locks hold between processes, not within one


@contextmanager
def locked(folder: Path, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Have a folder alone inside the block.

    The lock is of a kind (POSIX record lock) that forked loader processes do not inherit and that is gone with its
    process, so one that a killed run left behind is taken over without a race. Where a file system has no locks, what
    the file says counts: a process that is dead, or from before this machine last started, holds nothing.

    Args:
        folder: An existing folder.
        wait_seconds: How long to wait for another one to end.

    Raises:
        RunError: Another run has it; says which.
    """
    path = folder.resolve() / NAME
    file = _take(path, time.monotonic() + wait_seconds)
    try:
        yield
    finally:
        if _held[path]["pid"] == os.getpid():  # and not a fork of it
            del _held[path]
            with suppress(OSError):  # it may be gone with its folder; Windows keeps what is open
                path.unlink()  # before letting go of it: nobody else can have it yet
            os.close(file)


def _take(path: Path, deadline: float) -> int:
    """Return the handle of the lock's file, once it is ours."""
    while True:
        owner = _held.get(path)
        if owner is None:  # else opening and closing the file would let go of our own lock
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise RunError(f"{path}: cannot be written: {error.strerror}") from None
            owner = _other_owner(file)
            if owner is None and _is_still(file, path):
                _held[path] = _me()
                with suppress(OSError):  # a full disk is found by those who need its space
                    os.ftruncate(file, 0)
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, json.dumps(_held[path]).encode())
                return file
            os.close(file)
        if owner is not None and time.monotonic() >= deadline:
            pid, host, since, advice = (one_line(owner.get(key, "")) for key in ("pid", "host", "since", "advice"))
            raise RunError(
                f"{path.parent} is in use by process {pid or '?'} on {host or '?'} (since {since or '?'}); "
                f"wait for it, or name another folder{advice}"
            )
        time.sleep(0.05)


def _other_owner(file: int) -> dict[str, Any] | None:
    """Return who else has the lock, or None if it is ours now."""
    try:
        if sys.platform == "win32":
            os.lseek(file, 2**20, os.SEEK_SET)  # what is locked there nobody can read: not what it says
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = _said(file)
        if error.errno in _BUSY:
            return owner
        return owner | {"advice": f", or delete its {NAME} if it has ended"} if _may_live(owner) else None
    return None


def _said(file: int) -> dict[str, Any]:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(file, 4096))
    except ValueError:  # empty: it is just being written
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_still(file: int, path: Path) -> bool:
    """Tell whether the file that was opened is still the one of that name; its former owner deletes it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "since": since}


def _boot() -> str:
    """Return what is different after every start of this machine, where the system says it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _may_live(owner: Mapping[str, Any]) -> bool:
    """Tell whether the process that a lock's file names may still be there."""
    me = _me()
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid == me["pid"]:
        return False
    if owner.get("host") != me["host"]:
        return True  # nobody here can know
    if owner.get("boot") != me["boot"]:
        return False
    if sys.platform == "win32":
        return True  # asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
