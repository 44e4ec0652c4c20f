"""Images that a list names: CSV, TSV or one path a line, with or without labels.

Enters: a folder, and a list per split. Leaves: data sets of (PIL image, label). Called by the engine for the
recipe's data tables.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval, Len

from sslkit import IMAGE_SUFFIXES, AbsentError, DataError, Listing, did_you_mean, one_line
from sslkit.builtin.data.classes import class_names_of, class_numbers
from sslkit.builtin.data.image_folder import ImageFiles
from sslkit.builtin.data.list_file import Row, read_list

logger = logging.getLogger("sslkit")


class ImageList:
    """Images that a list names: CSV, TSV or one path a line, in UTF-8.

    Without named columns there is no header: the first column is the path, the second, if there is one, the label.
    Classes are the distinct labels of the train list, sorted; where all are whole numbers, as such: 0 to n - 1
    keep their numbers. Other lists are matched by name. An empty label, or -1, means that an image has none.

    A file that is missing stops at once under `raise`, and is a bad image like any other under `replace`. An image
    listed twice counts twice, with a warning; with two labels it is refused.

    Args:
        root: The folder.
        train: List of the train split, which is the pretrain split as well; relative to the folder.
        validation: List of the validation split.
        test: List of the test split.
        images: The folder that the paths in the lists are relative to; absolute paths may be among them.
        path_column: Name of the column with the paths; naming a column says that the first line is a header.
        label_column: Name of the column with the labels.
        delimiter: What separates columns, one character; left out, the suffix and the first line tell.
        on_bad_image: What pretraining does with an image that cannot be read: `raise` an error that names
            it, or `replace` it with another one, chosen by a fixed rule.
        max_bad_fraction: Pretraining stops when more than this share of all images could not be read.

    Attributes:
        num_classes: Number of classes, None without labels.
        class_names: Their names in the order of their numbers, None without labels.
        on_bad_image: As above.
        max_bad_fraction: As above.

    Raises:
        AbsentError: The folder of the images does not exist.
        DataError: The list is missing, empty or damaged; names the line.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        images: str = ".",
        path_column: str | None = None,
        label_column: str | None = None,
        delimiter: Annotated[str, Len(1, 1)] | None = None,
        on_bad_image: Literal["raise", "replace"] = "raise",
        max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self.max_bad_fraction = max_bad_fraction
        self._root = Path(root)
        self._images = self._root / images
        self._lists = {"train": train, "validation": validation, "test": test}
        self._columns = {"path_column": path_column, "label_column": label_column, "delimiter": delimiter}
        if not self._images.is_dir():
            raise AbsentError(f"{one_line(self._images)}: no such folder; see `folder` in the recipe and --data-root")
        rows = read_list(self._root / train, **self._columns)
        self.class_names = class_names_of(row.label for row in rows)
        self.num_classes = None if self.class_names is None else len(self.class_names)
        self._splits = {"train": self._labelled("train", self._root / train, rows)}

    def split(self, name: str) -> ImageFiles:
        """Return the split `pretrain`, `train`, `validation` or `test`, its list read on first use.

        Raises:
            AbsentError: There is no such split.
            DataError: Its list is missing or damaged, or it has a class that the train list lacks.
        """
        name = "train" if name == "pretrain" else name
        if name not in self._lists:
            raise AbsentError(f"no split {one_line(name)!r}{did_you_mean(name, ['pretrain', *self._lists])}")
        if name not in self._splits:
            listed = self._lists[name]
            if listed is None:
                raise AbsentError(f'{one_line(self._root)}: no {name} split; say which list, `{name} = "..."`')
            file = self._root / listed
            self._splits[name] = self._labelled(name, file, read_list(file, **self._columns))
        return self._splits[name]

    def _labelled(self, split: str, file: Path, rows: Sequence[Row]) -> ImageFiles:
        _refuse_two_labels(file, rows)
        listing = Listing.of(self._images, [row.path for row in rows])
        self._report_missing(file, rows, listing)
        labels = sorted({row.label for row in rows})
        positions = {label: position for position, label in enumerate(labels)}
        which = np.array([positions[row.label] for row in rows], dtype=np.int64)
        numbers = class_numbers(
            labels,
            which,
            self.class_names,
            split=split,
            describe=lambda position: f"{one_line(file)}:{rows[position].line}",
        )
        return ImageFiles(listing, numbers[which])

    def _report_missing(self, file: Path, rows: Sequence[Row], listing: Listing) -> None:
        missing = np.flatnonzero(listing.sizes < 0)
        if not len(missing):
            return
        first = rows[missing[0]]
        found = f"{one_line(file)}:{first.line}: {one_line(self._images / first.path)}: no such file"
        count = f"{len(missing):,} of {len(rows):,} are missing"
        is_named = any(self._columns[name] is not None for name in ("path_column", "label_column"))
        is_header = missing[0] == 0 and not is_named and Path(first.path).suffix.lower() not in IMAGE_SUFFIXES
        if len(missing) < len(rows) and self.on_bad_image == "replace" and not is_header:
            logger.warning("%s; %s", found, count)
            return
        if is_header:
            hint = f'if this line is a header, name its columns, `path_column = "{one_line(first.path)}"`'
            hint += f' and `label_column = "{one_line(first.label)}"`' if first.label else ""
        else:
            hint = 'the folder that paths are relative to is `images = "..."`'
        raise DataError(f"{found}; {count}; {hint}")


def _refuse_two_labels(file: Path, rows: Sequence[Row]) -> None:
    """Refuse an image that is listed with two labels; say how many are listed twice with the same."""
    known: dict[str, Row] = {}
    repeated = []
    for row in rows:
        before = known.setdefault(os.path.normpath(row.path), row)
        if before is row:
            continue
        repeated.append((before.line, row.line, row.path))
        if before.label != row.label:
            raise DataError(
                f"{one_line(file)}:{row.line}: {one_line(row.path)} has label {one_line(row.label)!r}, "
                f"but {one_line(before.label)!r} on line {before.line}"
            )
    if repeated:
        first, second, path = repeated[0]
        logger.warning(
            "%s: %d images are listed again and count twice, such as %s on lines %d and %d",
            one_line(file),
            len(repeated),
            one_line(path),
            first,
            second,
        )
