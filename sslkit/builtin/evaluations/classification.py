"""From the scores of a classifier to an outcome: counts of hits that ties cannot move, and the metrics of the data.

Enters: one score per test image and class, and the labels. Leaves: an `Outcome`. Called by every evaluation that names
classes, also to choose a setting on validation images: then by `outcome.metrics[outcome.headline]`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit import Data, DataError, Outcome, mean_per_class, voc_map


def classification_outcome(scores: Tensor, labels: Tensor, data: Data) -> Outcome:
    """Return accuracies over exactly the images given, by what the literature reports for the data (`data.metric`).

    One label per image: `top1`, `top5` where there are more than 5 classes, `mean_per_class`. Several: `voc_map`.
    Always `n`, and `absent_classes` where classes occur in no image; they are left out of means over classes.
    Predictions are `predicted`, `label`, `top5`, or `scores` and `label`.

    Args:
        scores: Float [n, classes], higher is better. Among equal ones the lowest class comes first, so that no result
            depends on how a device breaks ties. A class whose score is not a number is not named, not even as one of
            five; an image with no other gets -1.
        labels: int64 [n], or int8 [n, classes] with 1 present, 0 absent, -1 difficult.
        data: Says what is reported.

    Raises:
        DataError: The metric of the data does not fit its labels.
    """
    scores, labels = scores.cpu(), labels.cpu()
    metric = metric_of(data, labels)
    fitting = ("top1", "mean_per_class") if labels.ndim == 1 else ("voc_map",)
    if metric not in fitting:
        kind = "one label" if labels.ndim == 1 else "several labels"
        raise DataError(f'metric = "{metric}": data with {kind} per image are measured by {" or ".join(fitting)}')
    num_classes, truth = scores.shape[1], labels.numpy()
    if labels.ndim == 2:
        ranked = scores.float().numpy()
        metrics = {"voc_map": voc_map(ranked, truth)}
        predictions = {"scores": ranked, "label": truth}
        num_absent = num_classes - int((labels == 1).any(dim=0).sum())
    else:
        named = ~scores.isnan()
        best = torch.where(named, scores, -torch.inf).argmax(dim=1)
        predicted = torch.where(named.any(dim=1), best, -1).numpy()
        metrics = {"top1": int((predicted == truth).sum()) / len(truth)}
        predictions = {"predicted": predicted, "label": truth}
        if num_classes > 5:
            predictions["top5"] = (label_ranks(scores, labels) < 5).numpy()
            metrics["top5"] = int(predictions["top5"].sum()) / len(truth)
        metrics["mean_per_class"] = mean_per_class(predicted, truth)
        num_absent = num_classes - len(torch.unique(labels))
    metrics["n"] = float(len(truth))
    if num_absent:
        metrics["absent_classes"] = float(num_absent)
    return Outcome(metric, metrics, predictions)


def metric_of(data: Data, labels: Tensor) -> str:
    """Return what the literature reports for some data: what they say, or else by the form of their labels."""
    return getattr(data, "metric", None) or ("top1" if labels.ndim == 1 else "voc_map")


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """Return how many classes come before the true one, int64 [n]: 0 is a top-1 hit.

    Equal scores are in the order of the classes, lowest index first. A score that is not a number never hits.

    Args:
        scores: [n, classes], higher is better.
        labels: int64 [n].
    """
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1])
    before = (scores > own) | ((scores == own) & (classes < labels[:, None]))
    return torch.where(own.isnan()[:, 0], scores.shape[1], before.sum(dim=1))
