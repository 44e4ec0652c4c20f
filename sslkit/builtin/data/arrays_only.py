"""A pickle reader that knows numbers, text, lists, dicts and numpy arrays, and nothing else.

Enters: a file from outside, such as CIFAR's official Python batches, which exist as pickles only. Leaves: its
content. Called by `torchvision_sets`. An ordinary unpickler runs whatever the file says; this one refuses.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sslkit import DataError, one_line


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes into old pickles; it takes any codec."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_reconstruct: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]  # numpy's own, by no name

# The three names by which numpy pickles an array, with the module's name before and since numpy 2.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array") from None


def load_arrays(path: Path) -> dict[str, Any]:
    """Return the dict that a pickle file holds; its byte strings come as text, one character a byte.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, damaged, holds no dict, or anything but plain data and arrays.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{one_line(path)}: no such file") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{one_line(path)}: not read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise DataError(f"{one_line(path)}: holds no dict")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}
