"""Images of one colour each."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt

from sslkit import AbsentError

SPLITS = ("pretrain", "train", "test")


class Plain:
    def __init__(self, count):
        colours = torch.from_numpy(np.random.default_rng(count).integers(0, 256, (count, 3, 1, 1), dtype=np.uint8))
        self.images = colours.expand(-1, -1, 24, 24).contiguous()
        self.labels = np.arange(count) % 3

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index])

    def fingerprint(self):
        return f"squares {len(self)}"


class Squares:
    """Squares of three classes.

    Args:
        count: Images of each split.
    """

    num_classes = 3
    class_names = ("a", "b", "c")
    dataset = Plain

    def __init__(self, *, count: Annotated[int, Gt(0)] = 8):
        self.count = count

    def split(self, name):
        if name not in SPLITS:
            raise AbsentError(f"squares has no split {name!r}")
        return self.dataset(self.count)

    def table(self, name):
        return self.split(name).images
