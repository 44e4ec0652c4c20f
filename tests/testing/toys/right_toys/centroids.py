"""The nearest mean of a class."""

from typing import Annotated

import torch
from annotated_types import Gt

from sslkit import Outcome, needs_labels


def centroids(*, power: Annotated[float, Gt(0)] = 2.0):
    """Return the evaluation.

    Args:
        power: Of the distance.
    """

    @needs_labels
    def evaluate(pretrained, data):
        (values, labels), (test, true) = (pretrained.features(data, split) for split in ("train", "test"))
        means = torch.stack([values[labels == label].mean(dim=0) for label in labels.unique()])
        predicted = torch.cdist(test, means, p=power).argmin(dim=1)
        top1 = (labels.unique()[predicted] == true).float().mean().item()
        return Outcome("top1", {"top1": top1}, {"predicted": predicted.numpy(), "label": true.numpy()})

    return evaluate
