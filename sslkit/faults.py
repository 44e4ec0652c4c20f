"""Named points at which a run can be broken on purpose; nothing happens at them unless one is armed.

A promise such as "a kill while saving loses nothing" is only worth what was tried: tests and `sslkit doctor --faults`
arm a point, and the program breaks there as a machine would. Enters: `NAME:ACTION[@STEP][,rank=R]`, from the hidden
flag `--fault`. Leaves: nothing, or a dead process. Imports no torch. Called where the table says, and nowhere else.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from sslkit.errors import RunError
from sslkit.text import did_you_mean

T = TypeVar("T")


class Point(NamedTuple):
    """One place in the program.

    Attributes:
        where: What is about to happen there.
        step: What `@STEP` counts there; empty if the point has no number.
        gives: `value` where a number passes that can become nan, `file` where bytes lie that can flip.
    """

    where: str
    step: str = ""
    gives: str = ""


POINTS: Final[dict[str, Point]] = {
    "run.start": Point("The run's folder is written; nothing is trained yet."),
    "step.start": Point("A step begins.", "steps done, this one included"),
    "step.loss": Point("The loss is known; nothing is updated yet.", "steps done, this one included", "value"),
    "step.gradient": Point("The gradient norm is known, the update is next.", "steps done, this one included", "value"),
    "loader.read": Point("An image is about to be read, in a loader process if there are any.", "index of the image"),
    "checkpoint.write": Point("The first file of a checkpoint is written.", "steps done"),
    "checkpoint.before_manifest": Point("All files but the manifest are written and summed.", "steps done", "file"),
    "checkpoint.before_rename": Point("All is on the disk, under its temporary name.", "steps done", "file"),
    "checkpoint.after_rename": Point("The checkpoint has its name; it is not read back yet.", "steps done", "file"),
    "checkpoint.retire": Point("The checkpoint is read back; an older one is about to be deleted.", "steps done"),
    "save_artifact": Point("The backbone's weights are written, its card is not.", "", "file"),
    "evaluate.start": Point("An evaluation begins.", "place of its table, from 0"),
}
"""Every point: `where` in the program, what its `step` counts, what it `gives` to break."""


class _Armed(NamedTuple):
    text: str
    action: str
    step: int | None
    rank: int | None


_armed: dict[str, list[_Armed]] = {}

_TEXT: Final = re.compile(r"(?P<name>[\w.]+):(?P<action>\w+)(?:@(?P<step>\d+))?(?:,rank=(?P<rank>\d+))?", re.ASCII)


def fault(name: str, *, step: int | None = None, path: Path | None = None) -> None:
    """Mark a place in the program where it can be broken.

    Args:
        name: One of `POINTS`.
        step: The number that `@STEP` is compared with.
        path: A file that is there; `flip` changes a bit of it.
    """
    if _armed:
        for action in _due(name, step):
            if action == "flip":
                assert path is not None
                flip(path)
            else:
                _ACTIONS[action](name)


def value(name: str, number: T, *, step: int | None = None) -> T:
    """Return the number that passes this place, or nan times it. See `fault`."""
    if not _armed:
        return number
    spoiled: Any = number
    for action in _due(name, step):
        if action == "nan":
            spoiled = spoiled * float("nan")
        else:
            _ACTIONS[action](name)
    return spoiled  # type: ignore[no-any-return]


def arm(text: str) -> None:
    """Break the program at one point, whenever it comes there.

    Args:
        text: `NAME:ACTION[@STEP][,rank=R]`: at which point, what happens (`kill`, `exit`, `raise`, `enospc`, `eacces`,
            `hang`, `sigterm`; `nan` and `flip` where the point allows it), at which step only, on which rank only.

    Raises:
        RunError: There is no such point or action.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise RunError(f"--fault {text!r}: write NAME:ACTION[@STEP][,rank=R], such as checkpoint.before_rename:kill@12")
    name, action = match["name"], match["action"]
    if name not in POINTS:
        raise RunError(f'--fault {text}: there is no point "{name}"{did_you_mean(name, POINTS)}')
    known = [*_ACTIONS, *_SPECIAL]
    if action not in known:
        raise RunError(f'--fault {text}: there is no action "{action}"{did_you_mean(action, known)}')
    point = POINTS[name]
    if action in _SPECIAL and _SPECIAL[action] != point.gives:
        fitting = ", ".join(other for other in POINTS if POINTS[other].gives == _SPECIAL[action])
        raise RunError(f"--fault {text}: {name} has no {_SPECIAL[action]} to spoil; say one of {fitting}")
    if match["step"] is not None and not point.step:
        raise RunError(f"--fault {text}: {name} has no step; leave @{match['step']} out")
    step, rank = (None if match[key] is None else int(match[key]) for key in ("step", "rank"))
    _armed.setdefault(name, []).append(_Armed(text, action, step, rank))


def armed() -> list[str]:
    """Return the texts of what is armed, for processes that this one starts."""
    return [entry.text for entries in _armed.values() for entry in entries]


def disarm() -> None:
    """Make every point inert again."""
    _armed.clear()


def _due(name: str, step: int | None) -> list[str]:
    rank = int(os.environ.get("RANK", "0"))
    return [entry.action for entry in _armed.get(name, ()) if entry.step in (None, step) and entry.rank in (None, rank)]


def _kill(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows ends a process at either


def _exit(name: str) -> None:
    os._exit(1)


def _raise(name: str) -> None:
    raise RuntimeError(f"raised on purpose at {name}")


def _no_space(name: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _no_access(name: str) -> None:
    raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _hang(name: str) -> None:
    while True:
        time.sleep(3600)


def _terminate(name: str) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, as a worn disk does."""
    with path.open("r+b") as file:
        middle = path.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)[0]
        file.seek(middle)
        file.write(bytes([byte ^ 1]))


_ACTIONS: Final[dict[str, Callable[[str], None]]] = {
    "kill": _kill,
    "exit": _exit,
    "raise": _raise,
    "enospc": _no_space,
    "eacces": _no_access,
    "hang": _hang,
    "sigterm": _terminate,
}
_SPECIAL: Final = {"nan": "value", "flip": "file"}  # action -> what a point must give
