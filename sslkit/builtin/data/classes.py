"""Classes from labels as lists and shards write them: names become numbers, matched between splits by name.

Enters: the label of each image as text. Leaves: class names and int64 labels. Called by `image_list` and
`tar_shards`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sslkit import DataError, did_you_mean, one_line

logger = logging.getLogger("sslkit")

_NO_LABEL = frozenset({"", "-1"})
_NUMBER = re.compile("0|[1-9][0-9]*")


def class_names_of(labels: Iterable[str]) -> list[str] | None:
    """Return the classes of the train split: its distinct labels, sorted; None if there is no label.

    Where all labels are whole numbers they are sorted as such: 0 to n - 1 keep their numbers.

    Args:
        labels: As they are written; an empty one and -1 mean that the image has none.
    """
    names = set(labels) - _NO_LABEL
    as_number = all(_NUMBER.fullmatch(name) for name in names)
    return sorted(names, key=int if as_number else None) or None


def class_numbers(
    labels: Sequence[str],
    which: npt.NDArray[np.integer],
    names: Sequence[str] | None,
    *,
    split: str,
    describe: Callable[[int], str],
) -> npt.NDArray[np.int64]:
    """Return the number of each distinct label, int64 [len(labels) + 1]; the last entry, -1, is for no label.

    Args:
        labels: The distinct labels of a split.
        which: [n], position in `labels` of each image's label, -1 where there is none.
        names: Class names in the order of their numbers, None if there are no classes.
        split: Name of the split, for the log.
        describe: Where the label of an image is written, for messages.

    Raises:
        DataError: A label is not among the names; says where it is written.
    """
    if names is None:
        return np.full(len(labels) + 1, -1, dtype=np.int64)
    known = {name: number for number, name in enumerate(names)} | dict.fromkeys(_NO_LABEL, -1)
    for position, label in enumerate(labels):
        if label not in known:
            first = int(np.flatnonzero(which == position)[0])
            raise DataError(
                f"{describe(first)}: class {one_line(label)!r} is not in the train split{did_you_mean(label, names)}"
            )
    numbers = np.array([*(known[label] for label in labels), -1], dtype=np.int64)
    unlabelled = int((numbers[which] == -1).sum())
    if unlabelled:
        logger.info("%s: %d of %d images have no label", split, unlabelled, len(which))
    present = set(labels)
    absent = [name for name in names if name not in present]
    if absent:
        listed = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        logger.info("%s: no images of class %s", split, one_line(listed))
    return numbers
