"""Which images are trained on: some of some splits, with a table where there are tables, read one by one elsewhere."""

import pickle

import numpy as np
import pytest
import torch

from sslkit import AbsentError, Arrays, DataError, Shapes, labels_of
from sslkit.builtin.evaluations.training_images import TrainingImages


class Items(list):
    """A data set that knows its labels."""

    @property
    def labels(self):
        return [label for _, label in self]


class Read:
    """Data whose images are read one by one."""

    num_classes = 3
    class_names = ("a", "b", "c")
    on_bad_image = "replace"

    def split(self, name):
        if name == "validation":
            raise AbsentError("there is none")
        return Items((torch.full((3, 4, 4), number, dtype=torch.uint8), number % 3) for number in range(7))


class Tagged(Read):
    def split(self, name):
        several = {label: np.array([label == 0, label == 1, -1], dtype=np.int8) for label in range(3)}
        return Items((image, several[label]) for image, label in super().split(name))


class Unknown(Read):
    def split(self, name):
        return list(super().split(name))


def shapes():
    return Shapes(image_size=16, num_train=40, num_validation=20, num_test=10)


def test_some_images_of_two_splits_in_their_order():
    data = shapes()
    some = TrainingImages(data, {"train": torch.tensor([7, 3]), "validation": torch.tensor([19])})
    train, validation = data.split("train"), data.split("validation")
    expected = [train[7], train[3], validation[19]]
    assert len(some) == len(some.split("pretrain")) == 3
    assert some.labels.tolist() == [label for _, label in expected]
    for position, (image, label) in enumerate(expected):
        own = some.split("test")[position]
        assert torch.equal(own[0], image)
        assert own[1] == label
        assert torch.equal(some.table("pretrain")[position], image)
    assert some.split("pretrain").describe(2) == validation.describe(19)


def test_a_whole_table_is_not_copied():
    data = shapes()
    assert TrainingImages.whole(data, "train").table("pretrain") is data.table("train")
    assert len(TrainingImages.whole(data, "train", "validation").table("pretrain")) == 60


def test_tables_of_two_sizes_are_none():
    class Two(Shapes):
        def table(self, name):
            return super().table(name)[:, :, : 12 if name == "train" else 16]

    assert TrainingImages.whole(Two(image_size=16, num_train=10), "train").table("pretrain").shape[2] == 12
    assert TrainingImages.whole(Two(image_size=16, num_train=10), "train", "validation").table("pretrain") is None


def test_labels_that_only_the_images_tell_are_asked_for():
    with pytest.raises(DataError, match='the split "train" does not know its labels .* give its data set an attribute'):
        TrainingImages.whole(Unknown(), "train")


def test_images_that_are_read_one_by_one():
    some = TrainingImages(Read(), {"train": torch.tensor([5, 0])})
    assert some.labels.tolist() == [2, 0]
    assert some.table("pretrain") is None
    assert (some.num_classes, some.class_names, some.on_bad_image, some.max_bad_fraction) == (
        3,
        ("a", "b", "c"),
        "replace",
        0.2,
    )
    assert some.split("pretrain")[0][0][0, 0, 0] == 5
    assert some.split("pretrain").describe(0) == "image 5"
    assert labels_of(Tagged(), "train").dtype == torch.int8
    assert labels_of(Tagged(), "train")[:2].tolist() == [[1, 0, -1], [0, 1, -1]]


def test_workers_can_be_given_the_images():
    again = pickle.loads(pickle.dumps(TrainingImages(shapes(), {"train": torch.tensor([7, 3])}).split("pretrain")))
    assert torch.equal(again[1][0], shapes().split("train")[3][0])


def test_an_image_without_a_label_is_refused():
    data = Arrays.of(train=(np.zeros((3, 8, 8, 3), dtype=np.uint8), np.array([0, -1, 1])))
    with pytest.raises(DataError, match='1 of 3 images of the split "train" have no label'):
        TrainingImages.whole(data, "train")
