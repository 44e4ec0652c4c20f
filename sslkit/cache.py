"""Arrays that every process on the machine shares: built once, stored by a key of their content, memory-mapped.

Enters: a key and what builds the arrays. Leaves: the arrays, read-only. Called by `index`, and by data components
whose lists are long. An entry is never half there, so killed builders and builders at the same time do no harm;
and because its key is a hash of what it was made from, an entry is never out of date.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.run_folder import fsync_folder
from sslkit.text import one_line

logger = logging.getLogger("sslkit")

_MANIFEST = "manifest.json"
_DAY = 24 * 3600.0
_UNUSED = 90 * _DAY


def cached_arrays(key: str, build: Callable[[], Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a key, mapped from `~/.cache/sslkit/arrays/<key>/`; build and store them if absent.

    All processes that map an entry share its pages, and a mapped array is pickled as its path: what a spawned
    worker receives does not grow with the array. A damaged entry is built anew. Where nothing can be stored, the
    arrays stay in memory. Entries unused for 90 days go when another one is stored.

    Args:
        key: SHA-256, as 64 hexadecimal digits, of all that the arrays depend on, the layout of the arrays included.
        build: Returns the arrays by name, none of them of Python objects.

    Raises:
        ValueError: The key is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ValueError(f"{one_line(key)!r} is not a SHA-256 in hexadecimal digits")
    try:
        folder = Path.home() / ".cache" / "sslkit" / "arrays"
    except RuntimeError:  # nobody's process: no home
        return _read_only(build())
    stored = _load(folder / key)
    if stored is not None:
        return stored
    arrays = build()
    try:
        _store(folder, key, arrays)
    except OSError as error:  # a disk that is full or read-only
        logger.debug("not cached in %s: %s", one_line(folder), one_line(error))
    return _load(folder / key) or _read_only(arrays)


class _Mapped(np.memmap[Any, Any]):
    """A whole array file, which travels between processes as its path."""

    def __reduce__(self) -> Any:
        path = self.filename if isinstance(self.base, mmap.mmap) else None  # not of a slice: its base is an array
        if path is not None and Path(path).exists():
            return _map, (str(path),)
        return np.asarray(self).__reduce__()


def _map(path: str) -> _Mapped:
    header = np.load(path, mmap_mode="r", allow_pickle=False)
    return _Mapped(path, header.dtype, "r", header.offset, header.shape, "F" if header.flags.fnc else "C")


def _load(entry: Path) -> dict[str, np.ndarray[Any, Any]] | None:
    """Return the arrays of an entry that is all there, else None."""
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, expected in manifest.items():
            array = _map(str(entry / f"{name}.npy"))
            if _description(array, entry / f"{name}.npy") != expected:
                return None
            arrays[name] = array
    except (OSError, ValueError, TypeError, AttributeError, EOFError):  # missing, cut short, or not what it was
        return None
    with contextlib.suppress(OSError):  # someone else's, or on a read-only disk
        os.utime(entry / _MANIFEST)  # in use
    return arrays


def _store(folder: Path, key: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _clean(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_builder(os.getpid())}-", dir=folder))
    damaged = temporary.with_name(f"{temporary.name}-damaged")
    try:
        manifest = {}
        for name, array in arrays.items():
            path = temporary / f"{name}.npy"
            with path.open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            manifest[name] = _description(array, path)
        with (temporary / _MANIFEST).open("w", encoding="utf-8") as text:
            json.dump(manifest, text)
            text.flush()
            os.fsync(text.fileno())
        fsync_folder(temporary)
        if _load(folder / key) is None:  # else another builder was faster
            if (folder / key).exists():
                (folder / key).rename(damaged)
            temporary.rename(folder / key)
            fsync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(damaged, ignore_errors=True)


def _description(array: np.ndarray[Any, Any], path: Path) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": path.stat().st_size}


def _read_only(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    views = {name: array.view() for name, array in arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return views


def _builder(pid: int) -> str:
    return f".tmp-{pid}-{socket.gethostname()}"


def _clean(folder: Path) -> None:
    """Remove what killed builders left, and what nobody has used for long."""
    now = time.time()
    for place in folder.iterdir():
        try:
            if place.name.startswith(".tmp-"):
                pid = int(place.name.split("-")[1])
                gone = place.name.startswith(f"{_builder(pid)}-") and not _is_running(pid)
                stale = gone or now - place.stat().st_mtime > _DAY
            else:
                stale = now - (place / _MANIFEST).stat().st_mtime > _UNUSED
        except (OSError, ValueError):
            continue  # removed by someone else just now, or not ours
        if stale:
            shutil.rmtree(place, ignore_errors=True)


def _is_running(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, signal 0 is not a question; the entry's age decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
