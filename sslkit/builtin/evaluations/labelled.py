"""What every classification score needs: features that can be scored, and counts of hits that ties cannot move.

Enters: frozen features of a split. Leaves: checked features; ranks and accuracies. Called by `knn` and `linear`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit import Data, DataError, Features, NonFiniteError, Outcome, Pretrained


def labelled_features(pretrained: Pretrained, data: Data, split: str) -> Features:
    """Return the features of a split, float32 [n, D], with int64 labels [n], fit for a classifier.

    Raises:
        DataError: If the split is empty, has images without a label, or several labels per image.
        NonFiniteError: If a feature is infinite or not a number.
    """
    values, labels = pretrained.features(data, split)
    if len(values) == 0:
        raise DataError(f'the split "{split}" has no images to evaluate on; check the folder of the data')
    if labels.ndim != 1:
        raise DataError(
            f'the split "{split}" has several labels per image, and this evaluation takes one class each; '
            "use an evaluation made for multi-label data"
        )
    num_missing = int((labels < 0).sum())
    if num_missing:
        raise DataError(
            f'{num_missing} of {len(labels)} images of the split "{split}" have no label, and this evaluation '
            "needs one for each; use data with one folder per class"
        )
    values = values.float()
    num_broken = int((~torch.isfinite(values).all(dim=1)).sum())
    if num_broken:
        raise NonFiniteError(
            f'the features of {num_broken} of {len(values)} images of the split "{split}" are not finite; '
            "the weights have diverged: lower pretrain.optimizer.learning_rate"
        )
    return Features(values, labels.long())


def count_classes(data: Data, *labels: Tensor) -> int:
    """Return the number of classes: what the data says, or what the labels show.

    Raises:
        DataError: If a label lies beyond the number of classes that the data declares.
    """
    seen = max(int(part.max()) for part in labels) + 1
    if data.num_classes is None:
        return seen
    if seen > data.num_classes:
        raise DataError(f"the data declares {data.num_classes} classes, but has a label {seen - 1}; count from 0")
    return data.num_classes


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Return how many classes come before the true one, int64 [n]: 0 is a top-1 hit.

    Equal scores are in the order of the classes, lowest index first, so that no score depends on how a device
    breaks ties. A score that is not a number never hits.

    Args:
        scores: [n, classes], higher is better.
        labels: int64 [n].
    """
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    before = ~(scores <= own) | ((scores == own) & (classes < labels[:, None]))
    return before.sum(dim=1)


def classification_outcome(predicted: Tensor, hits: dict[int, Tensor], labels: Tensor, num_classes: int) -> Outcome:
    """Return top-1 accuracy (and top-5 where there are more than 5 classes), over exactly the images given.

    Args:
        predicted: int64 [n], the class given to each image.
        hits: k to bool [n]: whether the true class is among the first k.
        labels: int64 [n].
        num_classes: Number of classes.
    """
    shown = [k for k in (1, 5) if k == 1 or num_classes > 5]
    metrics = {f"top{k}": int(hits[k].sum()) / len(labels) for k in shown}
    metrics["n"] = float(len(labels))
    return Outcome("top1", metrics, {"predicted": predicted.cpu().numpy(), "label": labels.cpu().numpy()})
