"""Image files: found in folders, opened the same way everywhere, and skipped only by a stated policy.

Enters: a folder, a file or its bytes. Leaves: relative paths, and upright RGB images. Called by
`builtin/data`, by `engine/batches` (through `read_sample`), by features, preview and audit alike, so that one
file looks the same in all of them. Pillow and numpy only.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from sslkit.errors import DataError
from sslkit.text import one_line

# A format is taken only if it is a plain raster decoder: EPS, for one, would start Ghostscript.
_FORMATS_OF_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
}

IMAGE_SUFFIXES = frozenset(suffix for suffixes in _FORMATS_OF_SUFFIXES.values() for suffix in suffixes)
"""Suffixes, in lower case, by which `find_images` knows an image file."""

_MAX_PIXELS = 89_478_485  # Source: Pillow's MAX_IMAGE_PIXELS, a quarter of a GiB at 3 bytes a pixel
_NO_IMAGES = frozenset({"__MACOSX", "Thumbs.db"})  # left by macOS's zip and by Windows Explorer
_REPLACEMENT_TRIES = 10

# Source: EXIF 2.32, tag 0x0112; each value names the operation that turns the stored image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(DataError):
    """One image that cannot be read.

    Args:
        path: The file, or what else names the image.
        reason: What is wrong with it. Without one, `path` is the whole message: this is how torch's loader
            raises a worker's exception anew in the main process.

    Attributes:
        path: As above.
        reason: As above.
    """

    def __init__(self, path: str, reason: str = "") -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{one_line(path)}: {one_line(reason)}" if reason else path)

    def __reduce__(self) -> tuple[type[BadImageError], tuple[str, str]]:
        return BadImageError, (self.path, self.reason)


def open_image(source: Path | str | bytes | BinaryIO, *, name: str | None = None) -> Image.Image:
    """Return an image decoded completely, upright and in RGB, 8 bits a channel.

    The content decides the format, never the suffix; of several frames the first counts. EXIF orientation is
    applied once and removed with all other metadata; a damaged EXIF block leaves the image as stored. Colour
    profiles are not applied. Modes become RGB so:

    - `L`, `1`: three equal channels.
    - Anything with transparency: laid over white, which hides colours that nobody was meant to see.
    - `P`, `CMYK`, `YCbCr`, `HSV`, `LAB`: Pillow's conversion.
    - 16-bit grey (`I;16`, and `I` with values 0 to 65535): value / 257, rounded.
    - `F`: value * 255, rounded, if all values lie in [0, 1].
    - Other values in `I` and `F` are refused: no scale is right for all of them.

    Args:
        source: A path, the bytes of a file, or an open binary file.
        name: What to call the image in messages; default: its path.

    Raises:
        BadImageError: The file is missing, damaged, truncated, no image, or of more than 89 million pixels.
    """
    if name is None:
        name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "image"))
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(file, formats=_formats()) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS:,}")
            image.load()
            result = _to_rgb(_upright(image))
    except MemoryError:
        raise  # says something about the machine, nothing about the image
    except Exception as error:  # a damaged file makes decoders raise nearly anything, struct.error included
        raise BadImageError(name, _reason(error)) from error
    result.info.clear()
    return result


def find_images(folder: Path) -> list[str]:
    """Return the image files under a folder, as sorted relative paths with `/` on every system.

    Links to folders are followed, but each folder is listed once, by its own name before any link's. Hidden
    files and folders, `__MACOSX` and files with other suffixes are left out.

    Args:
        folder: Where to look, at any depth.

    Raises:
        DataError: The folder, or one in it, does not exist or cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{one_line(folder)}: {'is not a folder' if folder.exists() else 'no such folder'}")
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    waiting = [""]  # first the folder itself, then the links met on the way
    while waiting:
        links: list[str] = []
        for start in sorted(waiting):
            found.extend(_walk(folder, start, seen, links))
        waiting = links
    return sorted(found)


class Sample(NamedTuple):
    """One image as the loader gets it.

    Attributes:
        image: PIL image, or uint8 [C, H, W].
        label: As the dataset gave it.
        index: Position of the image that was read; another than asked for if that one was replaced.
        bad: The images that could not be read on the way here, in the order of the tries.
    """

    image: Any
    label: Any
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    bad: tuple[BadImageError, ...] = ()


class _Readable(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, Any]: ...


def read_sample(dataset: _Readable, index: int, *, on_bad_image: Literal["raise", "replace"], key: int) -> Sample:
    """Return one sample of a dataset, under the policy for images that cannot be read.

    Args:
        dataset: Gives (image, label), or raises BadImageError.
        index: Position asked for.
        on_bad_image: `raise`, or `replace` with an image that is a pure function of `key` and the try.
        key: The sample's random key, 0 to 2**64 - 1: the same replacement on any number of ranks and workers.

    Raises:
        BadImageError: With `raise`, at once; with `replace`, the first one after 10 tries failed as well.
    """
    bad: list[BadImageError] = []
    position = index
    for attempt in range(_REPLACEMENT_TRIES + 1):
        try:
            image, label = dataset[position]
        except BadImageError as error:
            if on_bad_image == "raise":
                raise
            bad.append(error)
            position = _replacement(key, attempt) % len(dataset)
        else:
            return Sample(image, label, position, tuple(bad))
    raise bad[0]


def _replacement(key: int, attempt: int) -> int:
    digest = hashlib.blake2b(struct.pack("<QQ", key, attempt), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS_OF_SUFFIXES if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format, or its beginning is damaged"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        operation = _UPRIGHT.get(orientation)
    except Exception:  # Pillow raises SyntaxError, struct.error, ValueError and others on damaged blocks
        operation = None
    return image if operation is None else image.transpose(operation)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_grey(_sixteen_to_eight(np.asarray(image)))
    if image.mode == "F":
        return _from_grey(_unit_to_eight(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_grey(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
    return Image.fromarray(grey).convert("RGB")


def _sixteen_to_eight(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise ValueError(f"32-bit grey with values {lowest} to {highest}; save it as 8 or 16 bits")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _unit_to_eight(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if not bool(((values >= 0) & (values <= 1)).all()):  # NaN fails this test too
        raise ValueError(f"float image with values {values.min():g} to {values.max():g}, not 0 to 1")
    eight: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(values * 255).astype(np.uint8)
    return eight


def _walk(folder: Path, start: str, seen: set[tuple[int, int]], links: list[str]) -> Iterator[str]:
    """Yield the images below `start`; put links to folders aside, so that real names win over theirs."""
    stack = [start]
    while stack:
        here = stack.pop()
        place = folder / here
        try:
            status = place.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(place) as scan:
                entries = list(scan)
        except OSError as error:
            raise DataError(f"{one_line(place)}: {error.strerror or error}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NO_IMAGES:
                continue
            relative = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir():
                (links if entry.is_symlink() else stack).append(relative)
            # A link that leads nowhere is listed: it must fail when read, not shrink the data unseen.
            elif _is_image_name(entry.name) and (entry.is_file() or entry.is_symlink()):
                yield relative


def _is_image_name(name: str) -> bool:
    _, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() in IMAGE_SUFFIXES
