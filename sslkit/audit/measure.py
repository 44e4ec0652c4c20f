"""One image file measured: what the file is, and what its pixels say.

Enters: a folder and a path below it. Leaves: `FileFacts`, also of a file that cannot be read. Called by `audit/audit`,
in processes of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from sslkit.audit.lightly import look, thumbnail, thumbnail_bytes
from sslkit.images import BadImageError, open_image
from sslkit.orientation import orientation_of

DETAIL_SIDE: Final = 16
"""Pixels along a side of the small grey copy that near duplicates are compared by."""

_SHARPNESS_SIDE = 512  # the longer side, so that the figures of large and small photographs can be compared
_LEVELS = np.arange(256, dtype=np.int64)


class Header(NamedTuple):
    """What a file says about itself.

    Attributes:
        format: As Pillow names it: `JPEG`, `PNG`, ...
        mode: Of the pixels as stored: `RGB`, `L`, `CMYK`, ...
        orientation: How it is stored, as EXIF counts, 1 to 8; 1 is upright.
        position: Whether it says where on Earth it was taken.
        damaged: Whether its EXIF block or XMP packet is.
    """

    format: str
    mode: str
    orientation: int
    position: bool
    damaged: bool


class Pixels(NamedTuple):
    """What the pixels of an upright RGB image say; values 0 to 255.

    Attributes:
        width: Upright.
        height: Upright.
        sums: Exact sum of each channel.
        squares: Exact sum of the squares of each channel.
        sharpness: Deviation of the Laplacian, at 512 pixels along the longer side or less.
        contrast: Deviation of the channel that varies most, on the thumbnail.
        signal_to_noise: Mean over deviation, on the thumbnail.
        hash: 64 bits: whether each of 8 x 8 patches is brighter than its left neighbour.
        detail: 16 x 16 grey values, row by row.
    """

    width: int
    height: int
    sums: tuple[int, int, int]
    squares: tuple[int, int, int]
    sharpness: float
    contrast: float
    signal_to_noise: float
    hash: int
    detail: bytes


@dataclass(frozen=True, slots=True)
class FileFacts:
    """All that the audit knows of one file.

    Attributes:
        path: Below the folder, with `/`.
        size: Bytes; None if the file cannot be opened.
        sha256: Of its bytes, in hexadecimal; None likewise.
        header: None if the image cannot be read.
        pixels: None likewise.
        error: Why it cannot be read, or None.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    header: Header | None = None
    pixels: Pixels | None = None
    error: str | None = None


def measure(folder: Path, path: str) -> FileFacts:
    """Return the facts of one file; one that cannot be read is a fact too.

    Args:
        folder: Where the path starts.
        path: Of the file.
    """
    size = digest = None
    try:
        with (folder / path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            image = open_image(file, name=path)
            file.seek(0)
            return FileFacts(path, size, digest, _header(file), _pixels(image))
    except BadImageError as error:
        return FileFacts(path, size, digest, error=error.reason)
    except OSError as error:
        return FileFacts(path, size, digest, error=error.strerror or str(error))


def small_copy(folder: Path, path: str) -> bytes:
    """Return an image's thumbnail, as the bytes of a WebP file.

    Args:
        folder: Where the path starts.
        path: Of the file.

    Raises:
        BadImageError: It can no longer be read.
    """
    return thumbnail_bytes(open_image(folder / path))


def _header(file: BinaryIO) -> Header:
    with Image.open(file) as image:
        stored = orientation_of(image)
        orientation, position = stored.value, False
        with contextlib.suppress(Exception):  # Pillow raises nearly anything on damaged blocks
            # Not the image's own: that of a PNG decodes it once more, for a block behind the pixels.
            tags = Image.Image.getexif(image)
            position = ExifTags.GPS.GPSLatitude in tags.get_ifd(ExifTags.IFD.GPSInfo)
            if image.format == "TIFF" and tags.get(ExifTags.Base.Orientation) in range(1, 9):
                orientation = tags[ExifTags.Base.Orientation]
        return Header(str(image.format), image.mode, orientation, position, stored.damaged)


def _pixels(image: Image.Image) -> Pixels:
    counts = np.array(image.histogram(), dtype=np.int64).reshape(3, 256)
    sums, squares = counts @ _LEVELS, counts @ _LEVELS**2
    grey = image.convert("L")
    small = thumbnail(image)
    seen = look(small)
    return Pixels(
        *image.size,
        sums=_three(sums),
        squares=_three(squares),
        sharpness=_sharpness(grey),
        contrast=seen.contrast,
        signal_to_noise=seen.signal_to_noise,
        hash=_difference_hash(small),
        detail=grey.resize((DETAIL_SIDE, DETAIL_SIDE), Image.Resampling.BOX).tobytes(),
    )


def _three(values: np.ndarray[Any, Any]) -> tuple[int, int, int]:
    red, green, blue = values.tolist()
    return red, green, blue


def _sharpness(grey: Image.Image) -> float:
    ratio = _SHARPNESS_SIDE / max(grey.size)
    if ratio < 1:
        width, height = (max(1, round(side * ratio)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.BOX)
    if min(grey.size) < 3:
        return 0.0
    values = np.asarray(grey, dtype=np.int16)
    centre = values[1:-1, 1:-1]
    laplacian = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * centre
    return float(laplacian.std())


def _difference_hash(small: Image.Image) -> int:
    values = np.asarray(small.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")
