"""A data set that lies in memory as one tensor.

Enters: uint8 images of one size, and labels. Leaves: a map-style data set. Called by the data components whose
images are small: `shapes` and `torchvision_sets`.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor


class ImageTable:
    """A map-style data set of (uint8 [C, H, W], label).

    Args:
        images: uint8 [n, C, H, W].
        labels: int64 [n], -1 where there is none.
        name: What to call it in messages, such as `cifar10/train`.
        made_from: Text that determines all images and labels, for images that are computed; it saves reading
            them all for the fingerprint.

    Attributes:
        images: As above.
        labels: As above.
    """

    def __init__(
        self, images: Tensor, labels: npt.NDArray[np.int64], *, name: str, made_from: str | None = None
    ) -> None:
        self.images = images
        self.labels = labels
        self._name = name
        self._made_from = made_from

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, uint8 [C, H, W], and its label."""
        return self.images[index], int(self.labels[index])

    def describe(self, index: int) -> str:
        """Return the name of an image, as messages give it."""
        return f"{self._name}[{index}]"

    def fingerprint(self) -> str:
        """Return a SHA-256 that stays as long as images and labels do."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        if self._made_from is not None:
            return hashlib.sha256(self._made_from.encode()).hexdigest()
        digest = hashlib.sha256(f"{tuple(self.images.shape)}".encode())
        digest.update(self.images.contiguous().numpy().data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()
