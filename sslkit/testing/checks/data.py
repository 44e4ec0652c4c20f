"""Data are splits of images and labels, the same for whoever opens them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from sslkit.engine.choices import open_data
from sslkit.engine.interfaces import Data, Dataset
from sslkit.engine.inventory import fingerprint_of
from sslkit.errors import AbsentError
from sslkit.testing.subject import Subject

_SPLITS: Final = ("pretrain", "train", "validation", "test")
_LOOKED_AT: Final = 16
"""Items of a split that are read."""


def has_a_split(subject: Subject) -> None:
    """At least one, and none that is there is empty."""
    splits = list(_splits(subject))
    subject.require(
        splits, "have a split", "there is none", f"return a dataset from split(name) for some of {', '.join(_SPLITS)}"
    )
    for name, dataset in splits:
        subject.require(
            isinstance(len(dataset), int) and len(dataset) > 0,
            "have images in every split that is there",
            f"{name} has {len(dataset)}",
            "raise sslkit.AbsentError for a split that is not there",
        )


def items_are_an_image_and_a_label(subject: Subject) -> None:
    """The image PIL or uint8 [C, H, W], the label an integer or int8 [classes]."""
    for name, number, (image, label) in _items(subject):
        where = f"item {number} of {name}"
        is_tensor = isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.ndim == 3
        subject.require(
            is_tensor or isinstance(image, Image.Image),
            "have images that are PIL or uint8 [C, H, W]",
            f"{where} is {type(image).__name__} {getattr(image, 'dtype', '')} {list(getattr(image, 'shape', ()))}",
            "open files with sslkit.open_image, and leave scaling to the views",
        )
        array = np.asarray(label)
        subject.require(
            (array.ndim == 0 and array.dtype.kind in "iu") or (array.ndim == 1 and array.dtype == np.int8),
            "have labels that are integers, or int8 [classes]",
            f"{where} has {label!r}",
            "-1 is no label; of several classes: 1 present, 0 absent, -1 difficult",
        )


def labels_are_in_range(subject: Subject) -> None:
    """From 0 to `num_classes`, or -1; without classes there are none."""
    data = _data(subject)
    count = data.num_classes
    names = data.class_names
    subject.require(
        names is None or count == len(names),
        "have a name for each class",
        f"num_classes is {count}, and there are {len(names or ())} names",
        "set num_classes = len(class_names), or class_names = None",
    )
    for name, number, (_, label) in _items(subject):
        array = np.asarray(label)
        fits = int(array) < (count or 0) and int(array) >= -1 if array.ndim == 0 else len(array) == count
        subject.require(
            fits,
            f"have labels below num_classes = {count}",
            f"item {number} of {name} has {label!r}",
            "count classes from 0; -1 is no label",
        )


def labels_agree_with_items(subject: Subject) -> None:
    """The array `labels`, if it is there, says what each item says."""
    known: dict[str, Any] = {name: getattr(dataset, "labels", None) for name, dataset in _splits(subject)}
    if all(labels is None for labels in known.values()):
        subject.skip("has no array of labels")
    for name, dataset in _splits(subject):
        subject.require(
            known[name] is None or len(known[name]) == len(dataset),
            "have one label for each image",
            f"the labels of {name} are not as many as its {len(dataset)} images",
            "keep labels in the order of the items",
        )
    for name, number, (_, label) in _items(subject):
        if known[name] is not None:
            subject.require(
                np.array_equal(np.asarray(known[name][number]), np.asarray(label)),
                "have the same label in `labels` as in the item",
                f"item {number} of {name} has {label!r}, and labels[{number}] is {known[name][number]!r}",
                "keep labels in the order of the items",
            )


def table_agrees_with_items(subject: Subject) -> None:
    """The tensor of all images, if it is there, holds what the items hold."""
    data: Any = _data(subject)
    tables: dict[str, Any] = {
        name: data.table(name) if hasattr(data, "table") else None for name, _ in _splits(subject)
    }
    if all(table is None for table in tables.values()):
        subject.skip("has no table")
    for name, number, (image, _) in _items(subject):
        if tables[name] is not None:
            pixels = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image)).permute(2, 0, 1)
            subject.require(
                torch.equal(tables[name][number], pixels),
                "have the same image in table(name) as in the item",
                f"item {number} of {name} differs",
                "make both from the same array: uint8 [n, C, H, W]",
            )


def can_be_sent_to_workers(subject: Subject) -> None:
    """Loader processes get a pickled copy of a split."""
    for name, dataset in _splits(subject):
        try:
            copy = pickle.loads(pickle.dumps(dataset))
        except Exception as error:
            subject.fail(
                "have splits that can be pickled",
                f"{name} cannot: {type(error).__name__}: {error}",
                "keep paths, not open files, and no lambda",
            )
        subject.require(
            len(copy) == len(dataset) and np.array_equal(np.asarray(copy[0][0]), np.asarray(dataset[0][0])),
            "have splits that are the same once pickled",
            f"{name} differs",
            "put everything that an item depends on into the dataset",
        )


def opened_again_it_is_the_same(subject: Subject) -> None:
    """Fingerprints and items are those of before: a run goes on only on the same data."""
    first, second = _data(subject), _data(subject)
    for name, dataset in _splits(subject):
        one, other = (fingerprint_of(each.split(name)) for each in (first, second))
        subject.require(
            one == other,
            "have the same fingerprint whenever it is opened",
            f"that of {name} is {one}, then {other}",
            "make fingerprint() from paths, sizes and labels in a fixed order",
        )
        again = second.split(name)
        subject.require(
            np.array_equal(np.asarray(dataset[0][0]), np.asarray(again[0][0])),
            "have the same images whenever it is opened",
            f"item 0 of {name} differs",
            "sort what it finds, and draw with a seed that is an option",
        )


def an_unknown_split_is_absent(subject: Subject) -> None:
    """One may do without some splits: that is an error of its own kind."""
    data = _data(subject)
    try:
        data.split("no_such_split")
    except AbsentError:
        return
    except Exception as error:
        subject.fail(
            "raise sslkit.AbsentError for a split that is not there",
            f"{type(error).__name__} is raised: {error}",
            "raise AbsentError('... has no split ...')",
        )
    subject.fail("raise sslkit.AbsentError for a split that is not there", "it returns one", "look at the name")


def _data(subject: Subject) -> Data:
    return open_data(subject.plan().data, None, 0)


def _splits(subject: Subject) -> list[tuple[str, Dataset]]:
    return subject.once("splits", lambda: list(_open_splits(_data(subject))))


def _open_splits(data: Data) -> Iterator[tuple[str, Dataset]]:
    for name in _SPLITS:
        try:
            yield name, data.split(name)
        except AbsentError:
            continue


def _items(subject: Subject) -> Iterator[tuple[str, int, Any]]:
    for name, dataset in _splits(subject):
        for number in range(min(_LOOKED_AT, len(dataset))):
            yield name, number, dataset[number]
