"""Frozen features without a network: what an evaluation asks the engine for."""

import numpy as np
import pytest
import torch

from sslkit import AbsentError, Features


class FakeData:
    class_names = None

    def __init__(self, num_classes, **splits):
        self.num_classes = num_classes
        self.splits = splits

    def split(self, name):
        if name not in self.splits:
            raise AbsentError(f"no split {name}")
        return self.splits[name]


class FakePretrained:
    backbone = head = normalisation = None
    input_size = 32
    device = torch.device("cpu")

    def __init__(self, seed=0):
        self.seed = seed
        self.asked = []

    def features(self, data, split):
        self.asked.append(split)
        values, labels = data.split(split)
        return Features(values, labels)


class Items(list):
    """A data set that knows its labels."""

    @property
    def labels(self):
        return [label for _, label in self]


class Tagged:
    """Two independent tags an image, bright red and bright blue; a third that is hardly ever known."""

    num_classes = 3
    class_names = ("red", "blue", "unknown")
    metric = "voc_map"

    def __init__(self, *splits, knows=True):
        self.splits = splits
        self.knows = knows

    def split(self, name):
        if name not in self.splits:
            raise AbsentError("there is none")
        generator = torch.Generator().manual_seed(len(name))
        images = []
        for number in range(40):
            tags = [number % 2, number // 2 % 2, -1 if number > 2 else number % 2]
            pixels = torch.randint(0, 60, (3, 16, 16), generator=generator, dtype=torch.uint8)
            pixels[0] += 180 * tags[0]
            pixels[2] += 180 * tags[1]
            images.append((pixels, np.array(tags, dtype=np.int8)))
        return Items(images) if self.knows else images


@pytest.fixture
def make_tagged():
    """Return a function of the splits' names that makes data with several labels an image."""
    return Tagged


@pytest.fixture
def make_data():
    return FakeData


@pytest.fixture
def make_pretrained():
    return FakePretrained


@pytest.fixture
def make_blobs():
    """Return a function (num, classes, dim, spread, seed) -> features and labels of Gaussian blobs."""

    def blobs(num, num_classes, dim, spread, seed=0):
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(99))
        labels = torch.randint(num_classes, (num,), generator=generator)
        return centres[labels] + spread * torch.randn(num, dim, generator=generator), labels

    return blobs
