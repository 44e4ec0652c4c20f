"""The fast operations as one set, and the type that both backends' sets have.

Enters and leaves: nothing. Called by `two_crops`, which looks the set of its backend up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from sslkit_simclr.operations.blur import gaussian_blur
from sslkit_simclr.operations.colour import Jitter, grayscale, jitter
from sslkit_simclr.operations.geometry import flip


class Operations(NamedTuple):
    """The operations of a backend; each may overwrite the images it is given, float32 [N, C, S, S].

    Attributes:
        flip: (images, flipped) -> images.
        jitter: (images, parameters) -> images.
        grayscale: (images, chosen) -> images.
        blur: (images, sigma, chosen, radius) -> images.
    """

    flip: Callable[[Tensor, Tensor], Tensor]
    jitter: Callable[[Tensor, Jitter], Tensor]
    grayscale: Callable[[Tensor, Tensor], Tensor]
    blur: Callable[[Tensor, Tensor, Tensor, int], Tensor]


OPERATIONS = Operations(flip, jitter, grayscale, gaussian_blur)
