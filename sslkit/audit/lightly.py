"""lightly-utils behind one door: what it measures well, without what it measures slowly or wrongly.

Enters: an RGB image from `open_image`. Leaves: its thumbnail, contrast and signal-to-noise ratio. Called by
`audit/measure` and `audit/report`.

The library is finished (0.0.2, 2021), so it is kept at arm's length. Its `Metadata` encodes each image as PNG to learn
a size, and works on float64 copies: 68 ms for a photograph of 500 x 375 pixels that decodes in 3. Here it is given the
thumbnail, and one that saves nothing: 1.4 ms. Its sharpness counts the image's border, which its filter leaves as it
is, so that a bright blurred image looks sharp; `measure` has its own. Without the library the few lines below do the
same.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

try:
    from lightly_utils.image_processing import Metadata, Thumbnail
except Exception:  # absent, or older than this Pillow bears
    Metadata = Thumbnail = None

_SIDE = 128  # Source: lightly_utils.image_processing.Thumbnail.SIZE_FOR_LIGHTLY


class Look(NamedTuple):
    """An image at a glance.

    Attributes:
        contrast: Standard deviation of the channel that varies most; pixel values 0 to 255.
        signal_to_noise: Mean of all values over their deviation; 0 if nothing varies.
    """

    contrast: float
    signal_to_noise: float


def thumbnail(image: Image.Image) -> Image.Image:
    """Return the image at 128 pixels or less, never enlarged."""
    if Thumbnail is not None:
        small: Image.Image = Thumbnail(image).thumbnail
        return small
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return small


def thumbnail_bytes(image: Image.Image) -> bytes:
    """Return the thumbnail as the bytes of a WebP file."""
    if Thumbnail is not None:
        data: bytes = Thumbnail(image).to_bytes().getvalue()
        return data
    file = io.BytesIO()
    thumbnail(image).save(file, format="WEBP", quality=90)
    return file.getvalue()


def look(small: Image.Image) -> Look:
    """Return what a thumbnail shows of its image: noise finer than it is gone, so a blank scan counts as blank."""
    measured = _metadata(small)
    return Look(255 * max(measured["std"]), measured["snr"])


def _metadata(small: Image.Image) -> dict[str, Any]:
    if Metadata is not None:
        small = small.copy()
        small.save = _save_nothing  # type: ignore[method-assign]
        with np.errstate(divide="ignore", invalid="ignore"):  # an image of one colour is no fault
            measured: dict[str, Any] = Metadata(small).to_dict()
        return measured
    values = np.asarray(small, dtype=np.float64)
    deviation = float(values.std())
    snr = float(values.mean()) / deviation if deviation else 0.0
    return {"std": (values.std(axis=(0, 1)) / 255).tolist(), "snr": snr}


def _save_nothing(*_: object, **__: object) -> None:
    """Stand in for an image's `save`, whose outcome nobody wants."""
