"""Frozen features without a network: what an evaluation asks the engine for."""

import pytest
import torch

from sslkit import DataError, Features


class FakeData:
    class_names = None

    def __init__(self, num_classes, **splits):
        self.num_classes = num_classes
        self.splits = splits

    def split(self, name):
        if name not in self.splits:
            raise DataError(f"no split {name}")
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
