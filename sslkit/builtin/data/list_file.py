"""Lists of images in text files: CSV, TSV, or one path a line.

Enters: a file and what its columns are called. Leaves: path, label and line number of each image. Called by
`image_list`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sslkit import IMAGE_SUFFIXES, DataError, did_you_mean, one_line

_DELIMITERS = {".tsv": "\t", ".csv": ",;\t"}  # by suffix, the likeliest first
_ANY_DELIMITER = "\t,; "
_SNIFFED = 10_000  # characters


class Row(NamedTuple):
    """One image of a list.

    Attributes:
        line: Where it is in the file, from 1.
        path: As it is written.
        label: As it is written; empty if there is none.
    """

    line: int
    path: str
    label: str


def read_list(file: Path, *, path_column: str | None, label_column: str | None, delimiter: str | None) -> list[Row]:
    """Return the images of a list, in its order; empty lines are left out.

    Args:
        file: UTF-8 with or without a byte order mark.
        path_column: Name of the column with the paths; None takes the first.
        label_column: Name of the column with the labels; None takes the second, if no column is named.
        delimiter: What separates columns; None finds out from the file's suffix and first line.

    Raises:
        DataError: The file cannot be read, lacks a column, or has a line without a path or with other columns.
    """
    try:
        # A path need not be UTF-8 to name a file; a label must.
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{one_line(file)}: {'no such list' if not file.exists() else error.strerror}") from None
    if "\0" in text:
        raise DataError(f"{one_line(file)}: not a text file in UTF-8; save it as such")
    named = [name for name in (path_column, label_column) if name is not None]
    lines = list(StringIO(text))  # which, unlike str.splitlines, ends lines at newlines only
    first = next((line.rstrip("\n") for line in lines if line.strip()), "")[:_SNIFFED]
    if delimiter is None:
        delimiter = _delimiter(file, first, named)
    rows = _rows(file, lines, delimiter)
    path_at, label_at, num_columns = 0, 1, None
    if named:
        line, header = next(rows, (1, []))
        columns = [name.strip() for name in header]
        path_at = 0 if path_column is None else _column(columns, path_column, f"{one_line(file)}:{line}")
        label_at = -1 if label_column is None else _column(columns, label_column, f"{one_line(file)}:{line}")
        num_columns = len(columns)
    found: list[Row] = []
    for line, fields in rows:
        num_columns = num_columns or len(fields)
        if len(fields) != num_columns:
            raise DataError(
                f"{one_line(file)}:{line}: {len(fields)} columns, but {num_columns} before; put a path with "
                f"{delimiter!r} in it into quotes, or set `delimiter`"
            )
        path, label = fields[path_at].strip(), fields[label_at].strip() if 0 <= label_at < num_columns else ""
        if not path:
            raise DataError(f"{one_line(file)}:{line}: no path")
        if not label.isprintable() and any("\ud800" <= character <= "\udfff" for character in label):
            raise DataError(f"{one_line(file)}:{line}: label {one_line(label)!r} is not UTF-8; save the list as such")
        found.append(Row(line, path, label))
    if not found:
        raise DataError(f"{one_line(file)}: lists no image")
    return found


def _rows(file: Path, lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of every line that is not empty; without a delimiter a line is one field."""
    if not delimiter:
        yield from ((number, [line.rstrip("\n")]) for number, line in enumerate(lines, 1) if line.strip())
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from ((reader.line_num, fields) for fields in reader if any(field.strip() for field in fields))
    except csv.Error as error:
        raise DataError(f"{one_line(file)}:{reader.line_num}: {one_line(error)}") from None


def _delimiter(file: Path, first: str, named: Sequence[str]) -> str:
    """Return the delimiter that fits the first line: it parts off a named column, or a path from what follows."""
    suffix = file.suffix.lower()
    choices = _DELIMITERS.get(suffix, _ANY_DELIMITER)
    for choice in choices:
        fields = next(chain(csv.reader([first], delimiter=choice), [[]]))
        if any(field.strip() in named for field in fields):
            return choice
        if not named and len(fields) > 1 and Path(fields[0].strip()).suffix.lower() in IMAGE_SUFFIXES:
            return choice
    return choices[0] if suffix in _DELIMITERS else ""


def _column(columns: Sequence[str], name: str, where: str) -> int:
    if name not in columns:
        there = did_you_mean(name, columns) or f"; there are: {one_line(', '.join(columns)) or 'none'}"
        raise DataError(f"{where}: no column {one_line(name)!r}{there}")
    return list(columns).index(name)
