"""Image files: opened the same way everywhere, and skipped only by a stated policy.

Enters: a file or its bytes. Leaves: upright RGB images. Called by
`builtin/data`, by `engine/batches` (through `read_sample`), by features, preview and audit alike, so that one
file looks the same in all of them. Pillow and numpy only.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

from PIL import Image, ImageFile, UnidentifiedImageError

from sslkit.errors import DataError
from sslkit.orientation import orientation_of
from sslkit.pixels import is_deep, lower_bytes, to_rgb
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
"""Suffixes, in lower case, by which `index` knows an image file."""

_MAX_PIXELS = 89_478_485  # Source: Pillow's MAX_IMAGE_PIXELS, a quarter of a GiB at 3 bytes a pixel
_REPLACEMENT_TRIES = 10

_DAMAGED_METADATA = "damaged_metadata"

# Damaged metadata, which a run counts in one line, and images that are too large, which are refused here. For good, not
# around each image: leaving `catch_warnings` makes Python repeat every other warning that it shows once.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, module=r"PIL\.")


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

    The content decides the format, never the suffix; of several frames the first counts. The stated orientation is
    applied once and removed with all other metadata; damage in the metadata loses neither the image nor, if its tag
    can be read, the orientation. Colour profiles are not applied. Every mode has one conversion:

    - Grey, of 1 or 8 bits: three equal channels.
    - Anything with transparency: laid over white, which hides colours that nobody was meant to see.
    - Palettes, `CMYK`, `YCbCr`, `HSV`, `LAB`: Pillow's conversion.
    - 16 bits a channel, grey or colour: value / full scale * 255, rounded; full scale is 65535, or 1023, 4095 or 16383
      if the file holds nothing above it and states no more.
    - 32-bit integers from 0 to 65535: as 16 bits. Float from 0 to 1: value * 255, rounded.
    - Other integers and floats are refused: no scale is right for all of them.

    Neither `ImageFile.LOAD_TRUNCATED_IMAGES` nor `Image.MAX_IMAGE_PIXELS` changes what is accepted.

    Args:
        source: A path, the bytes of a file, or an open binary file.
        name: What to call the image in messages; default: its path.

    Raises:
        BadImageError: The file is missing, damaged, truncated, no image, or of more than 89 million pixels.
    """
    with _reading(source, name), _opened(source) as image:
        deep, low = is_deep(image), None
        image.load()
        if deep:
            with _opened(source) as again:
                low = lower_bytes(again)
        orientation = orientation_of(image)
        result = orientation.upright(to_rgb(image, low))
    result.info = {_DAMAGED_METADATA: True} if orientation.damaged else {}
    return result


def image_size(source: Path | str | bytes | BinaryIO, *, name: str | None = None) -> tuple[int, int]:
    """Return (width, height) of the upright image in pixels, as `open_image` will have it, without decoding.

    Raises:
        BadImageError: The file is missing, no image, or of more than 89 million pixels.
    """
    with _reading(source, name), _opened(source) as image:
        width, height = image.size
        return (height, width) if orientation_of(image).swaps_sides else (width, height)


def has_damaged_metadata(image: Any) -> bool:
    """Return whether `open_image` found the EXIF block or XMP packet of this image damaged."""
    return _DAMAGED_METADATA in getattr(image, "info", ())


class NoReplacementError(DataError):
    """An image that cannot be read, and neither can any that was tried in its place.

    Attributes:
        bad: The errors of all of them.
    """

    bad: tuple[BadImageError, ...] = ()


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
        BadImageError: With `raise`.
        NoReplacementError: With `replace`, when 10 others failed as well.
    """
    bad: list[BadImageError] = []
    position = index
    for attempt in range(_REPLACEMENT_TRIES + 1):
        try:
            item = dataset[position]
        except BadImageError as error:
            if on_bad_image == "raise":
                raise
            bad.append(error)
            position = _replacement(key, attempt) % len(dataset)
        else:
            if not isinstance(item, Sequence) or len(item) != 2:
                raise DataError(
                    f"item {position} of the data set is of type {type(item).__name__}; it should be a pair (image, "
                    "label), with label -1 for none"
                )
            return Sample(item[0], item[1], position, tuple(bad))
    failure = NoReplacementError(f"{bad[0]}; nor can {_REPLACEMENT_TRIES} others be read that were tried in its place")
    failure.bad = tuple(bad)
    raise failure


def _replacement(key: int, attempt: int) -> int:
    digest = hashlib.blake2b(struct.pack("<QQ", key, attempt), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@contextmanager
def _reading(source: object, name: str | None) -> Iterator[None]:
    """Keep Pillow strict, and call whatever goes wrong a bad image."""
    try:
        with _strict:
            yield
    except MemoryError:
        raise  # says something about the machine, nothing about the image
    except Exception as error:  # a damaged file makes decoders raise nearly anything, struct.error included
        if name is None:
            name = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "image"))
        raise BadImageError(name, _reason(error)) from error


def _opened(source: Path | str | bytes | BinaryIO) -> ImageFile.ImageFile:
    image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=_formats())
    if image.width * image.height > _MAX_PIXELS:
        image.close()
        raise ValueError(f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS:,}; cut it into tiles")
    return image


class _StrictPillow:
    """Holds Pillow's process-wide switches, which any library may have set, where they belong while images are read.

    Threads may be inside at the same time: the first sets the switches, the last one restores them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._found = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, _MAX_PIXELS

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = self._found


_strict = _StrictPillow()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS_OF_SUFFIXES if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format and pixel type, or its beginning is damaged"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
