"""What every evaluation with labels needs before it can begin: features and labels that can be scored, and a hold-out.

Enters: frozen features of a split, or its labels. Leaves: the same, checked; the number of classes; which images to
hold out. Called by `linear`, `logistic_regression`, `knn`, and by any evaluation that trains a classifier.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sslkit import AbsentError, Data, DataError, Features, NonFiniteError, Pretrained


def labelled_features(pretrained: Pretrained, data: Data, split: str, *, multi_label: bool = False) -> Features:
    """Return the features of a split, float32 [n, D], with labels, fit for a classifier.

    Args:
        pretrained: What to measure.
        data: Where the images are.
        split: Of which split.
        multi_label: Whether labels may be int8 [n, classes]; otherwise they are int64 [n].

    Raises:
        DataError: If the split is empty, or its labels are not as `checked_labels` wants them.
        NonFiniteError: If a feature is infinite or not a number.
    """
    values, labels = pretrained.features(data, split)
    labels = checked_labels(labels, split, multi_label=multi_label)
    return Features(require_finite(values.float(), f'images of the split "{split}"'), labels)


def require_finite(features: Tensor, which: str) -> Tensor:
    """Return features as they are, once all of them are numbers.

    Args:
        features: [n, ...].
        which: Images, in words.

    Raises:
        NonFiniteError: One is infinite or not a number.
    """
    num_broken = int((~torch.isfinite(features).flatten(1).all(dim=1)).sum())
    if num_broken:
        raise NonFiniteError(
            f"the features of {num_broken} of {len(features)} {which} are not finite: these weights are damaged or "
            "have diverged; if you pretrained them, lower pretrain.optimizer.learning_rate"
        )
    return features


def checked_labels(labels: Tensor, split: str, *, multi_label: bool = False) -> Tensor:
    """Return labels that a classifier can learn from: int64 [n], or int8 [n, classes] where several are allowed.

    Args:
        labels: As `Pretrained.features` or `Pretrained.images` give them.
        split: For messages.
        multi_label: Whether several labels per image are allowed.

    Raises:
        DataError: If there is no image, an image has no label, or several where one is wanted.
    """
    if len(labels) == 0:
        raise DataError(f'the split "{split}" has no images to evaluate on; check the folder of the data')
    if labels.ndim == 2:
        if multi_label:
            return labels.to(torch.int8)
        raise DataError(
            f'the split "{split}" has several labels per image, and this evaluation takes one class each; '
            "use an evaluation made for multi-label data: builtin.linear, builtin.logistic_regression"
        )
    num_missing = int((labels < 0).sum())
    if num_missing:
        raise DataError(
            f'{num_missing} of {len(labels)} images of the split "{split}" have no label, and this evaluation '
            "needs one for each; use data with one folder per class"
        )
    return labels.long()


def labels_of(data: Data, split: str, *, multi_label: bool = True) -> Tensor:
    """Return the labels of a split, int64 [n] or int8 [n, classes], without reading an image.

    Args:
        data: Where the images are.
        split: Of which split.
        multi_label: Whether several labels per image are allowed.

    Raises:
        DataError: If there is no such split, its data set does not know its labels, it is empty, or an image has none.
    """
    known = getattr(data.split(split), "labels", None)
    if known is None:
        raise DataError(
            f'the split "{split}" does not know its labels without reading every image; give its data set an attribute '
            "labels, a whole number for each image"
        )
    labels = torch.as_tensor(np.asarray(known))
    return checked_labels(labels.long() if labels.ndim == 1 else labels.to(torch.int8), split, multi_label=multi_label)


def check_labels(data: Data, *splits: str, multi_label: bool = True) -> None:
    """Refuse labels that no classifier can be trained or scored on, before anything is; those not known yet pass.

    Args:
        data: Where the images are.
        splits: Whose labels; one that the data lacks is left out.
        multi_label: Whether several labels per image are allowed.

    Raises:
        DataError: If an image has no label, or they do not fit the classes of the data, or each other.
    """
    there = [split for split in splits if has_split(data, split)]
    known = [split for split in there if getattr(data.split(split), "labels", None) is not None]
    count_classes(data, *(labels_of(data, split, multi_label=multi_label) for split in known))


def count_classes(data: Data, *labels: Tensor) -> int:
    """Return the number of classes that the data declares, once the labels fit it.

    Raises:
        DataError: If they do not, or do not fit each other, or the data declares that it has no labels.
    """
    if data.num_classes is None:
        raise DataError("the data declares no classes: its num_classes is None, which means that it has no labels")
    if data.num_classes < 2:
        raise DataError("the data has a single class: there is nothing to tell apart")
    if len({part.ndim for part in labels}) > 1:
        raise DataError("some splits of the data have one label per image and some have several; they must agree")
    if not labels:
        return data.num_classes
    if labels[0].ndim == 2:
        widths = {part.shape[1] for part in labels} | {data.num_classes}
        if len(widths) > 1:
            raise DataError(f"labels and data do not agree on the number of classes: {sorted(widths)}")
        return data.num_classes
    seen = max(int(part.max()) for part in labels) + 1
    if seen > data.num_classes:
        raise DataError(f"the data declares {data.num_classes} classes, but has a label {seen - 1}; count from 0")
    return data.num_classes


def splits_to_learn_from(data: Data) -> list[str]:
    """Return `train` and, where the data has one, `validation`."""
    return ["train", *(["validation"] if has_split(data, "validation") else [])]


def has_split(data: Data, name: str) -> bool:
    """Return whether the data has a split of this name; one that is there but broken is an error, as ever.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        data.split(name)
    except AbsentError:
        return False
    return True


def training_features(pretrained: Pretrained, data: Data, validation_fraction: float | None) -> tuple[Features, Tensor]:
    """Return the features that may be learned from, and which of them to choose settings by, bool [n].

    The images of `train` and, where the data has one, of `validation`, which then are those to choose by. Otherwise a
    share of each class is held out, drawn from the run's seed.

    Args:
        pretrained: What to measure.
        data: Where the images are; one label per image, or several.
        validation_fraction: Share of each class held out where the data has no validation split; None holds none out.

    Raises:
        DataError: If the features cannot be scored, or no image can be held out.
        NonFiniteError: If a feature is not finite.
    """
    train = labelled_features(pretrained, data, "train", multi_label=True)
    if has_split(data, "validation"):
        validation = labelled_features(pretrained, data, "validation", multi_label=True)
        count_classes(data, train.labels, validation.labels)
        joined = Features(*(torch.cat(pair) for pair in zip(train, validation, strict=True)))
        return joined, torch.arange(len(joined.labels)) >= len(train.labels)
    if validation_fraction is None:
        return train, torch.zeros(len(train.labels), dtype=torch.bool)
    return train, balanced_holdout(train.labels, validation_fraction, pretrained.seed)


def balanced_holdout(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return which images to hold out, bool [n]: the fraction of each class, at least one where there are two.

    Of images with several labels each, which cannot be balanced so, it is the fraction of all images.

    Args:
        labels: int64 [n], or int8 [n, classes]; on the CPU.
        fraction: Share, rounded to whole images.
        seed: Decides which images.

    Raises:
        DataError: If no class has two images.
    """
    labels = labels if labels.ndim == 1 else labels.new_zeros(len(labels), dtype=torch.int64)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    taken = (counts * fraction).round().long().clamp(min=1).minimum(counts - 1).clamp(min=0)
    place_in_class = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_class] = place_in_class < taken.repeat_interleave(counts)
    if not held.any():
        raise DataError(
            "no class has two training images, so none can be held out to choose a setting by; give the evaluation "
            "a single one, such as learning_rates = [1.0] or l2_values = [1e-3], or use data with a validation split"
        )
    return held
