"""A run's folder: its name, its small files, written so that none is ever half there. Imports no torch.

Called by `engine.run`, and by commands that read a run.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import RunError


def new_folder(runs: Path, name: str) -> Path:
    """Create `runs/name/20261124-153000`, with a number behind it if two runs start in the same second.

    Raises:
        RunError: The folder cannot be created.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        folder = runs / name / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise RunError(f"{runs}: no run folder can be created there: {error.strerror}; say --runs DIR") from None
        return folder


def require_writable(folder: Path) -> None:
    """Check before any work that results can be written below a folder, which need not exist yet.

    Raises:
        RunError: They cannot.
    """
    existing = folder
    try:  # permissions lie on network disks, and root has them all
        while not existing.exists() and existing != existing.parent:
            if existing.is_symlink():
                raise RunError(
                    f"{existing}: is a link to {existing.readlink()}, which is not there; mount or make that"
                )
            existing = existing.parent
        if existing.exists() and not existing.is_dir():
            raise RunError(f"{existing}: is a file, not a folder; choose another place")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise RunError(f"{folder}: is not writable ({error.strerror}); choose another place") from None


def newest_step(folder: Path) -> int:
    """Return the step of a run's newest checkpoint, 0 if it has none; whether it is whole is not looked at."""
    return max(checkpoint_steps(folder / "checkpoints"), default=0)


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a `checkpoints` folder by their steps, the newest first."""
    found = {int(path.name[5:]): path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)}
    return dict(sorted(found.items(), reverse=True))


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader or a kill never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader or a kill never sees half of it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON file's table, or None if there is no such file.

    Raises:
        RunError: It cannot be read as JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds no table")
    return value


def fsync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut; systems without folder handles do that themselves."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
