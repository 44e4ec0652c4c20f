"""A reader of MATLAB 5 files that knows numbers, text, cells and structs, and nothing else.

Enters: a `.mat` file from outside. Leaves: arrays, text, lists and dicts. Called by the sets whose labels come in
such files, which spares everyone else a dependency on SciPy.

Source: MathWorks, "MAT-File Format", the chapter on version 5.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sslkit import DataError, one_line

_HEADER_BYTES = 128
_MOST_BYTES = 2**28  # unpacked; the largest of the sets' files holds 3 MiB
_DEEPEST = 8  # arrays within arrays

# Numbers of data types and array classes, as the format gives them.
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _TEXT = 1, 2, 4
_COMPLEX = 0x0800
_STORED_AS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CHARACTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def load_mat(path: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file of version 5 to 7.

    Numbers become arrays of their own type and shape, text becomes str, a cell array a list and a struct array a
    list of dicts, both in MATLAB's order (column by column).

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, damaged, of another version, or holds anything else.
    """
    try:
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None or len(content) < _HEADER_BYTES:
            raise ValueError("not a MATLAB 5 file")
        if struct.unpack(f"{order}H", content[124:126]) != (0x0100,):
            raise ValueError("a MATLAB file of another version; save it with -v7")
        return dict(_variables(_Elements(memoryview(content)[_HEADER_BYTES:], order)))
    except FileNotFoundError:
        raise DataError(f"{one_line(path)}: no such file") from None
    except (ValueError, IndexError, OverflowError, OSError, struct.error, zlib.error) as error:
        raise DataError(f"{one_line(path)}: not read: {one_line(error)}") from error


class _Elements:
    """The elements in a stretch of a file, one after the other."""

    def __init__(self, content: memoryview, order: str) -> None:
        self.content = content
        self.order = order

    def __bool__(self) -> bool:
        return len(self.content) > 0

    def next(self) -> tuple[int, memoryview]:
        """Return the number of an element's data type and its bytes."""
        [first] = struct.unpack_from(f"{self.order}I", self.content)
        if first >> 16:  # a small element: its size in the upper half, at most four bytes right behind
            kind, start, size, step = first & 0xFFFF, 4, first >> 16, 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            kind, start, [size] = first, 8, struct.unpack_from(f"{self.order}I", self.content, 4)
            step = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(self.content):
            raise ValueError("it ends too early; is it complete?")
        data = self.content[start : start + size]
        self.content = self.content[step:]
        return kind, data

    def numbers(self) -> npt.NDArray[Any]:
        """Return the next element as numbers, in the type they are stored in."""
        kind, data = self.next()
        if kind not in _STORED_AS:
            raise ValueError(f"data type {kind} where numbers should be")
        return np.frombuffer(data, dtype=self.order + _STORED_AS[kind])


class _Matrix(NamedTuple):
    name: str
    value: Any


def _variables(elements: _Elements) -> list[_Matrix]:
    found, room = [], _MOST_BYTES
    while elements:
        kind, data = elements.next()
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(data, room)
            if not unpacker.eof:
                raise ValueError(f"a variable is incomplete, or all are more than {_MOST_BYTES:,} bytes")
            room -= len(unpacked)
            kind, data = _Elements(memoryview(unpacked), elements.order).next()
        if kind != _MATRIX:
            raise ValueError(f"data type {kind} where a variable should be")
        found.append(_matrix(data, elements.order, 0))
    return found


def _matrix(data: memoryview, order: str, depth: int) -> _Matrix:
    if not data:  # a cell or field that was never set
        return _Matrix("", np.empty((0, 0)))
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} arrays within each other")
    elements = _Elements(data, order)
    flags = int(elements.numbers()[0])
    shape = tuple(int(side) for side in elements.numbers())
    count = int(np.prod(shape, dtype=object))
    name = elements.numbers().tobytes().decode("ascii")
    kind = flags & 0xFF
    if kind in _NUMBERS and not flags & _COMPLEX:
        stored = elements.numbers()  # often in a smaller type than the array's
        return _Matrix(name, stored.astype(_NUMBERS[kind]).reshape(shape, order="F"))
    if kind == _TEXT:
        return _Matrix(name, _text(elements, shape))
    if kind == _CELL:
        return _Matrix(name, [_inner(elements, depth) for _ in range(count)])
    if kind == _STRUCT:
        return _Matrix(name, _records(elements, count, depth))
    raise ValueError(f"variable {name!r} is an array of class {kind}, which is not read")


def _inner(elements: _Elements, depth: int) -> Any:
    kind, data = elements.next()
    if kind != _MATRIX:
        raise ValueError(f"data type {kind} where an array should be")
    return _matrix(data, elements.order, depth + 1).value


def _text(elements: _Elements, shape: tuple[int, ...]) -> str:
    kind, data = elements.next()
    if kind not in _CHARACTERS or (shape[0] > 1 and data):
        raise ValueError("text of more than one line, or in an unknown encoding")
    codec = _CHARACTERS[kind]
    if codec in ("utf-16", "utf-32"):  # which would look for a byte-order mark
        codec += "-le" if elements.order == "<" else "-be"
    return bytes(data).decode(codec)


def _records(elements: _Elements, count: int, depth: int) -> list[dict[str, Any]]:
    [width] = elements.numbers()
    names = elements.numbers().tobytes()
    if width < 1:
        raise ValueError("a struct with names of no length")
    fields = [names[at : at + width].split(b"\0")[0].decode("ascii") for at in range(0, len(names), int(width))]
    if not fields:
        raise ValueError("a struct with no fields")
    return [{field: _inner(elements, depth) for field in fields} for _ in range(count)]
