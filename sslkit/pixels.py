"""One conversion to 8-bit RGB for every kind of pixel that an image file can hold.

Enters: an image that Pillow has opened. Leaves: the same in mode RGB, or ValueError with what is wrong with it.
Called by `images`; the table of all modes is docs/explanation/images.md.
"""

from __future__ import annotations

import sys
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

Values: TypeAlias = npt.NDArray[Any]
Bytes: TypeAlias = npt.NDArray[np.uint8]

# Largest values of the depths that cameras and scanners deliver and files store unscaled in 16 bits.
_FULL_SCALES: Final = (2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
_SCALED_BY_PILLOW: Final = ("PPM", "JPEG2000")  # these state their maximum, and Pillow obeys
_BYTES_OF_LA: Final = "RGBA"  # the four bytes of a pixel with two 16-bit channels, taken as four channels
# Source: TIFF 6.0, sections 8 and 19.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE, _PLANAR, _SAMPLE_FORMAT = 258, 262, 281, 284, 339
_WHITE_IS_ZERO, _SEPARATE_PLANES, _SIGNED = 0, 2, 2


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Return whether a colour image has 16 bits a channel, of which Pillow would decode the upper 8 only.

    Args:
        image: Not decoded yet.
    """
    return image.mode in ("RGB", "RGBA", "CMYK") and any(
        ";16" in raw and not raw.startswith("RGBa") for raw in map(_raw_mode, image.tile)
    )


def lower_bytes(image: ImageFile.ImageFile) -> Image.Image:
    """Decode the lower byte of each 16-bit channel: the upper one of the other byte order.

    Args:
        image: A deep one, not decoded yet.
    """
    image.tile = [_in_other_order(tile) for tile in image.tile]
    grey_and_alpha = any(_raw_mode(tile) == _BYTES_OF_LA for tile in image.tile)
    image.load()
    if grey_and_alpha:
        _, grey, _, alpha = image.split()
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    return image


def to_rgb(image: Image.Image, low: Image.Image | None = None) -> Image.Image:
    """Return an image in RGB, 8 bits a channel.

    Args:
        image: In any mode.
        low: The lower bytes, of a deep image.

    Raises:
        ValueError: Its values have no scale that would be right for all such files.
    """
    _require_read_rightly(image)
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _grey(_sixteen_to_eight(image, values := np.asarray(image)), image, values == transparent)
    if image.mode == "F":
        return _grey(_unit_to_eight(np.asarray(image)), image)
    if low is not None:
        values = np.asarray(image).astype(np.uint16) * 256 + np.asarray(low)
        image = _deep_to_eight(image, values)
        if transparent is not None:  # a colour, 16 bits a channel
            image.putalpha(Image.fromarray(np.where((values[..., :3] == transparent).all(-1), 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow converts premultiplied grey to its own kind only
        image = image.convert("LA")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _grey(grey: Bytes, image: Image.Image, transparent: Values | bool = False) -> Image.Image:
    if _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8-bit files only
        grey = 255 - grey
    return Image.fromarray(np.where(transparent, 255, grey).astype(np.uint8)).convert("RGB")


def _sixteen_to_eight(image: Image.Image, values: Values) -> Bytes:
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > _FULL_SCALES[-1]:
        raise ValueError(f"grey values from {lowest} to {highest} have no known scale; save it as 8 or 16 bits")
    return _scaled(values, _full_scale(image, highest))


def _unit_to_eight(values: Values) -> Bytes:
    if not bool(((values >= 0) & (values <= 1)).all()):  # NaN fails this test too
        raise ValueError(
            f"float image with values {values.min():g} to {values.max():g}, not 0 to 1; save it as 8 or 16 bits"
        )
    eight: Bytes = np.rint(values * 255).astype(np.uint8)
    return eight


def _deep_to_eight(image: Image.Image, values: Values) -> Image.Image:
    """Scale all colours by one rule, and alpha by itself: it is often full beside colours that are not."""
    colours = values.shape[-1] - (image.mode == "RGBA")
    parts = [values[..., :colours], values[..., colours:]]
    eight = [_scaled(part, _full_scale(image, int(part.max()))) for part in parts if part.size]
    return Image.frombytes(image.mode, image.size, np.dstack(eight).tobytes())


def _full_scale(image: Image.Image, highest: int) -> int:
    """Return the value that is white.

    A file of 16 bits may hold what a camera of 12 bits delivered, and seldom says so. The smallest usual depth
    that holds the image's values is taken: an image that fills its depth comes out right, any other too
    bright by less than 4 times rather than nearly black. TIFF's MaxSampleValue counts as a value of the image: it must
    not change how an image looks (TIFF 6.0), but tells the depth.
    """
    if image.format in _SCALED_BY_PILLOW:
        return _FULL_SCALES[-1]
    stated = _tiff_tag(image, _MAX_SAMPLE_VALUE)
    if isinstance(stated, int) and stated <= _FULL_SCALES[-1]:
        highest = max(highest, stated)
    return next(scale for scale in _FULL_SCALES if highest <= scale)


def _scaled(values: Values, full: int) -> Bytes:
    eight: Bytes = ((values.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    return eight


def _require_read_rightly(image: Image.Image) -> None:
    """Refuse the two kinds of TIFF that Pillow decodes without an error, but wrongly."""
    if image.mode == "L" and _tiff_tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise ValueError("signed 8-bit grey; save it as unsigned")
    tags = _tiff_tag(image, _BITS_PER_SAMPLE), _tiff_tag(image, _PLANAR)
    if tags == (16, _SEPARATE_PLANES) and len(image.getbands()) > 1:
        raise ValueError("16-bit colour in separate planes; save it with interleaved channels")


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    """Return the first value of a tag, or None."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _raw_mode(tile: Any) -> str:
    return str(tile.args if isinstance(tile.args, str) else tile.args[0])


def _in_other_order(tile: Any) -> Any:
    raw = _raw_mode(tile)
    # What libtiff decodes is in the order of this machine, "N".
    other = raw[:-1] + {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[raw[-1]]
    if raw == "LA;16B":
        other = _BYTES_OF_LA
    return tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
