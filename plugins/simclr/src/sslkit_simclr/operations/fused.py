"""The fast pixel operations as one set, and the type that both backends' sets have.

Enters and leaves: nothing. Called by the view generators, which look the set of their backend up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from sslkit_simclr.operations.blur import Blurred, Border, gaussian_blur
from sslkit_simclr.operations.distortion import Distorted, Semantics, distort
from sslkit_simclr.operations.geometry import flip


class Pixels(NamedTuple):
    """The pixel operations of a backend, on images float32 [N, C, S, S].

    Attributes:
        flip: (images, flipped) -> images.
        distort: (images, parameters, semantics) -> images.
        blur: (images, parameters, radius, border) -> images.
    """

    flip: Callable[[Tensor, Tensor], Tensor]
    distort: Callable[[Tensor, Distorted, Semantics], Tensor]
    blur: Callable[[Tensor, Blurred, int, Border], Tensor]


PIXELS = Pixels(flip, distort, gaussian_blur)
