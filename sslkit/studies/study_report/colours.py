"""The colours of heat maps: equal steps look equal, and a number can be read on each of them, by day and by night.

Enters: a place on the scale. Leaves: sRGB, and CSS of a number of levels. Called by `svg` and `heat_map`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

LEVELS: Final = 32  # of colour

# How light and how colourful a heat map's ends are, and of which hue, in OKLCH: (lightness, chroma, hue in degrees).
# Equal steps between them look equal. By night the large values are the light ones: they stand out from the paper.
BY_DAY: Final = ((0.97, 0.025, 100.0), (0.66, 0.105, 190.0), (0.33, 0.11, 262.0))
BY_NIGHT: Final = ((0.28, 0.045, 262.0), (0.60, 0.10, 200.0), (0.93, 0.105, 100.0))


def levels(stops: Sequence[tuple[float, float, float]]) -> str:
    """Return the CSS of the levels: `q0`, `q1`, ... fill a cell, and `t0`, `t1`, ... the text on it.

    Args:
        stops: Colours of the scale at equal distances, in OKLCH.
    """
    rules = []
    for level in range(LEVELS):
        rgb = heat_colour(level / (LEVELS - 1), stops)
        rules.append(f".q{level} {{ fill: {_hex(rgb)}; }} .t{level} {{ fill: {readable_on(rgb)}; }}")
    return "\n".join(rules) + "\n"


def heat_colour(share: float, stops: Sequence[tuple[float, float, float]] = BY_DAY) -> tuple[float, float, float]:
    """Return a colour of the heat map's scale as sRGB, each from 0 to 1.

    Args:
        share: Where on the scale, from 0 to 1.
        stops: Colours at equal distances, in OKLCH.

    Source: Ottosson 2020, "A perceptual color space for image processing".
    """
    place = share * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    part = place - first
    light, chroma, hue = (a + part * (b - a) for a, b in zip(stops[first], stops[first + 1], strict=True))
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    red, green, blue = (
        min(max(12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055, 0.0), 1.0) for v in linear
    )
    return red, green, blue


def readable_on(rgb: Sequence[float]) -> str:
    """Return black or white, whichever contrasts more: at least 4.5 to 1 on any colour.

    Args:
        rgb: sRGB, each from 0 to 1.

    Source: W3C, Web Content Accessibility Guidelines 2.2, relative luminance.
    """
    return "#000000" if luminance(rgb) > 0.179 else "#ffffff"


def luminance(rgb: Sequence[float]) -> float:
    """Return the relative luminance of a colour.

    Args:
        rgb: sRGB, each from 0 to 1.
    """
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(rgb: Sequence[float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
