"""What every layout of a transfer set answers, and how each finds and reads its files.

Enters: the folder that a recipe names. Leaves: class names and lists of images with labels; no image is opened.
Called by the files beside this one, and through them by `transfer_sets`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sslkit import AbsentError, DataError, did_you_mean, one_line


class Listed(NamedTuple):
    """Images of a split, in the order of the creators' list.

    Attributes:
        paths: Relative to the layout's folder, with `/`.
        labels: int64 [n], or int8 [n, classes] with 1 present, 0 absent, -1 difficult.
    """

    paths: list[str]
    labels: npt.NDArray[Any]

    def only(self, chosen: npt.NDArray[np.bool_]) -> Listed:
        """Return the images of a mask, bool [n]."""
        return Listed([self.paths[index] for index in np.flatnonzero(chosen)], self.labels[chosen])


@dataclass(frozen=True)
class Layout:
    """One set as it lies on disk.

    Attributes:
        folder: Where the paths of the lists start.
        class_names: Official names in official order.
        read: From the name of a split to its list: `train`, `test`, and `validation` if the creators made one.
        has_validation: Whether they did.
        may_lack: Whether images of the lists are known to be missing, as links rot.
    """

    folder: Path
    class_names: tuple[str, ...]
    read: Callable[[str], Listed]
    has_validation: bool = False
    may_lack: bool = False


def place_of(root: Path, dataset: str, folders: Sequence[str], proof: str) -> Path:
    """Return the first of `root` and its named folders that holds `proof`, a file or a folder.

    Raises:
        AbsentError: None does; the message names the path in the first of the named folders.
    """
    for place in (root, *(root / folder for folder in folders)):
        if (place / proof).exists():
            return place
    raise AbsentError(missing(root / folders[0] / proof, dataset, root))


def missing(path: Path, dataset: str, root: Path) -> str:
    """Return the message for a file or folder of a set that is not there."""
    command = f"sslkit data fetch {dataset} --data-root {shlex.quote(one_line(root))}"
    return f"{one_line(path)}: not there, but expected of {dataset}; where to get it: {command}"


def lines_of(path: Path, dataset: str, root: Path) -> list[str]:
    """Return the lines of a list, without those that are empty.

    Raises:
        DataError: The file is not there or cannot be read.
    """
    try:
        # A file name is bytes: those that are no UTF-8 must come out as the ones that went in.
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise DataError(missing(path, dataset, root)) from None
    except OSError as error:
        raise DataError(f"{one_line(path)}: {error.strerror or error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{one_line(path)}: is empty")
    return lines


def numbers_of(names: Iterable[str], class_names: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    """Return the numbers of class names, int64 [n].

    Args:
        names: One an image.
        class_names: All there are, in order.
        path: Where `names` come from, for the message.

    Raises:
        DataError: A name is none of them.
    """
    number = {name: index for index, name in enumerate(class_names)}
    try:
        return np.array([number[name] for name in names], dtype=np.int64)
    except KeyError as error:
        name = error.args[0]
        raise DataError(
            f"{one_line(path)}: {one_line(name)!r} is not a class of this set{did_you_mean(name, class_names)}"
        ) from None


def in_range(numbers: npt.NDArray[np.int64], class_names: Sequence[str], path: Path) -> npt.NDArray[np.int64]:
    """Return labels unchanged, int64 [n], once all of them are classes.

    Raises:
        DataError: One is not.
    """
    for number in numbers[(numbers < 0) | (numbers >= len(class_names))]:
        raise DataError(f"{one_line(path)}: class number {number + 1}, but there are {len(class_names)} classes")
    return numbers
