"""How the images of `shapes` are drawn.

Enters: class numbers and random numbers in [0, 1). Leaves: uint8 images. Called by `shapes`. numpy only, float32,
edges smoothed over one pixel from the distance to the outline, so that every size shows the same picture.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]  # float32 throughout

VERSION = 1
"""Of the drawing; part of the fingerprint, so that changed images are noticed."""

SHAPES = ("disc", "square", "triangle", "cross", "ring")  # as _OUTLINES below
TEXTURES = ("striped", "checked")
BACKGROUNDS = ("gradient", "clouds", "clutter")

_CHUNK = 256  # images drawn at a time: their intermediate planes stay in the processor's cache
_CLOUD = 5  # random tones along each side of a clouded background
_SPECKS = 6  # blobs on a cluttered background, each with a place, a size and a tone

FACTORS = {
    "x": 4,
    "y": 4,
    "scale": 4,
    "slant": 4,
    "rotation": 4,
    "polarity": 2,
    "hue": 8,
    "background_hue": 8,
    "background": len(BACKGROUNDS),
    "background_angle": 4,
    "texture_angle": 4,
    "texture_period": 4,
    "texture_phase": 4,
    "texture_phase_across": 4,
    "tone": 4,
    "background_tone": 4,
}
"""One random number per image and name; the value says into how many steps `Shapes.factors` divides it."""

NUM_DRAWS = len(FACTORS) + _CLOUD**2 + 4 * _SPECKS
"""Random numbers per image."""


def named_draws(numbers: Array) -> dict[str, Array]:
    """Split uniform numbers [n, K] by name: [n] per factor, clouds [n, 5, 5], specks [n, 4, 6]."""
    named = {factor: numbers[:, column] for column, factor in enumerate(FACTORS)}
    clouds = len(FACTORS) + np.arange(_CLOUD**2)
    specks = len(FACTORS) + _CLOUD**2 + np.arange(4 * _SPECKS)
    named["clouds"] = numbers[:, clouds].reshape(-1, _CLOUD, _CLOUD)
    named["specks"] = numbers[:, specks].reshape(-1, 4, _SPECKS)
    return named


def draw_images(labels: npt.NDArray[np.int64], draws: dict[str, Array], size: int) -> npt.NDArray[np.uint8]:
    """Return images of the given classes.

    Args:
        labels: int64 [n], 0 to 9.
        draws: The random numbers of each image, in [0, 1): [n] per factor, `clouds` [n, 5, 5], `specks` [n, 4, 6].
        size: Side, pixels.

    Returns:
        uint8 [n, 3, size, size].
    """
    images = np.empty((len(labels), 3, size, size), dtype=np.uint8)
    for start in range(0, len(labels), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _draw(labels[part], {name: values[part] for name, values in draws.items()}, size)
    return images


def _draw(labels: npt.NDArray[np.int64], draws: dict[str, Array], size: int) -> npt.NDArray[np.uint8]:
    """Draw one chunk. The image spans -1 to 1 both ways, y downwards; brightness and colour run from 0 to 1."""
    d = {name: values[:, None, None] for name, values in draws.items() if values.ndim == 1}
    pixel = 2 / size
    ticks = (np.arange(size, dtype=np.float32) + 0.5) * pixel - 1
    x, y = ticks[None, None, :], ticks[None, :, None]

    cover = np.clip(0.5 - _distances(labels // len(TEXTURES), *_wallpaper(x, y, d)) / pixel, 0, 1)
    texture = _textures(labels % len(TEXTURES), x, y, d, pixel)
    dark = _between(d["background_tone"], 0.15, 0.3)
    outside = dark + 0.08 * _backgrounds(ticks, draws, d)
    inside = dark + _between(d["tone"], 0.38, 0.48) + 0.2 * texture
    grey = outside + cover * (inside - outside)
    grey = np.where(d["polarity"] < 0.5, grey, 1 - grey)

    # Nearly the opposite colour: shape and background stay apart, and their difference tells images apart less.
    background_hue = draws["hue"] + _between(draws["background_hue"], 0.4, 0.6)
    colour = _chroma(background_hue)[:, :, None, None] * (1 - cover[:, None])
    colour += _chroma(draws["hue"])[:, :, None, None] * cover[:, None]
    images: npt.NDArray[np.uint8] = np.rint(np.clip(grey[:, None] + colour, 0, 1) * 255).astype(np.uint8)
    return images


def _wallpaper(x: Array, y: Array, d: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Return each point's place in the shape of its cell, twice [n, S, S], and the shapes' size [n, 1, 1]."""
    pitch = _between(d["scale"], 1.1, 1.45)  # side of a cell
    x, y = _rotated(x, y, _between(d["slant"], -0.35, 0.35))
    x, y = x / pitch + d["x"], y / pitch + d["y"]
    x, y = (x - np.floor(x) - 0.5) * pitch, (y - np.floor(y) - 0.5) * pitch
    return *_rotated(x, y, _between(d["rotation"], -0.5, 0.5)), 0.31 * pitch


def _distances(shapes: npt.NDArray[np.int64], x: Array, y: Array, size: Array) -> Array:
    """Return how far each point lies outside its shape, negative inside: [n, S, S].

    Before the size applies, every shape has the area 4 of the square with corners at (+-1, +-1): none is known by
    how much of the image it fills.
    """
    distances = np.empty_like(x)
    for number, outline in enumerate(_OUTLINES.values()):
        chosen = shapes == number
        distances[chosen] = outline(x[chosen] / size[chosen], y[chosen] / size[chosen])
    return distances * size


def _disc(x: Array, y: Array) -> Array:
    return _length(x, y) - math.sqrt(4 / math.pi)


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 1


def _triangle(x: Array, y: Array) -> Array:
    inner = math.sqrt(4 / math.sqrt(27))  # radius of the circle that touches all three sides
    y = y - inner / 2  # the middle of its height, not its centre of mass, in the middle of the cell
    return np.maximum(math.sqrt(0.75) * np.abs(x) - 0.5 * y, y) - inner


def _cross(x: Array, y: Array) -> Array:
    half = 1 / math.sqrt(5)  # half the width of an arm: five squares make a cross
    x, y = np.abs(x), np.abs(y)
    distance: Array = np.minimum(np.maximum(x - 3 * half, y - half), np.maximum(x - half, y - 3 * half))
    return distance


def _ring(x: Array, y: Array) -> Array:
    outer = math.sqrt(16 / (3 * math.pi))  # the hole has half the radius
    distance: Array = np.abs(_length(x, y) - 0.75 * outer) - 0.25 * outer
    return distance


def _length(x: Array, y: Array) -> Array:
    return np.sqrt(x * x + y * y)


_OUTLINES = {"disc": _disc, "square": _square, "triangle": _triangle, "cross": _cross, "ring": _ring}


def _textures(textures: npt.NDArray[np.int64], x: Array, y: Array, d: dict[str, Array], pixel: float) -> Array:
    """Return -1 to 1, [n, S, S]: both textures are half dark, half light, with edges one pixel wide."""
    period = _between(d["texture_period"], 0.36, 0.42)
    along, across = _rotated(x, y, d["texture_angle"] * math.pi)
    waves = np.cos(2 * math.pi * (along / period + d["texture_phase"]))
    checked = textures == 1
    crossing = across[checked] / period[checked] + d["texture_phase_across"][checked]
    waves[checked] *= np.cos(2 * math.pi * crossing)
    texture: Array = np.clip(waves * (period / (math.pi * pixel)), -1, 1)
    return texture


def _backgrounds(ticks: Array, draws: dict[str, Array], d: dict[str, Array]) -> Array:
    """Return -1 to 1, [n, S, S]: a slope, soft clouds, or blobs."""
    kinds = (draws["background"] * len(BACKGROUNDS)).astype(np.int64)
    angle = d["background_angle"] * (2 * math.pi)
    planes: Array = ticks[None, None, :] * np.cos(angle) + ticks[None, :, None] * np.sin(angle)

    clouds = kinds == BACKGROUNDS.index("clouds")
    weights = _interpolation(ticks)
    planes[clouds] = weights @ (2 * draws["clouds"][clouds] - 1) @ weights.T

    clutter = kinds == BACKGROUNDS.index("clutter")
    x, y, radius, tone = np.moveaxis(draws["specks"][clutter], 1, 0)[..., None, None]
    for speck in range(_SPECKS):
        away = _length(ticks[None, None, :] - (2 * x[:, speck] - 1), ticks[None, :, None] - (2 * y[:, speck] - 1))
        blob = np.clip((_between(radius[:, speck], 0.1, 0.35) - away) / (ticks[1] - ticks[0]) + 0.5, 0, 1)
        planes[clutter] = planes[clutter] * (1 - blob) + (2 * tone[:, speck] - 1) * blob
    return planes


def _interpolation(ticks: Array) -> Array:
    """Return weights [S, 5] that blend five tones smoothly over -1 to 1."""
    place = (ticks[:, None] + 1) / 2 * (_CLOUD - 1) - np.arange(_CLOUD, dtype=np.float32)
    near = np.clip(1 - np.abs(place), 0, 1)
    weights: Array = near * near * (3 - 2 * near)
    return weights


def _chroma(hue: Array) -> Array:
    """Return a colour of no brightness, [n, 3]: adding it to a grey leaves the luma as it was."""
    turns = hue[:, None] - np.array([0, 1 / 3, 2 / 3], dtype=np.float32)
    wave = np.cos(2 * math.pi * turns)
    luma = wave @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # Source: ITU-R BT.601
    chroma: Array = 0.22 * (wave - luma[:, None])
    return chroma


def _rotated(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def _between(uniform: Array, low: float, high: float) -> Array:
    return low + (high - low) * uniform
