"""The head of a classification: one linear layer from features to a logit for every class of the data.

Enters: features h, [N, D]. Leaves: logits, [N, classes]. Called by the method in supervised pretraining, and by the
evaluations that train on images.
"""

from __future__ import annotations

from torch import Tensor, nn

from sslkit import DataError

_INITIAL_STD = 0.01
"""Standard deviation of the initial weights. Source: the code of SimCLR, `model_util.linear_layer`."""


class Classifier(nn.Module):
    """A linear classifier with bias.

    Args:
        in_dim: Width D of the features; the engine gives it.
        num_classes: Classes of the data; the engine gives it.
        zero_init: Start from zero instead of small random weights: then all classes are equally likely at first.
            Source: the code of SimCLR has the flag `zero_init_logits_layer`, and its commands for linear evaluation and
            fine-tuning set it.

    Attributes:
        out_dim: The number of classes.

    Raises:
        DataError: If the data has no classes.
    """

    def __init__(self, in_dim: int, num_classes: int | None, *, zero_init: bool = False) -> None:
        super().__init__()
        if not num_classes:
            raise DataError("a classifier needs data with classes; use data with labels, such as one folder per class")
        self.layer = nn.Linear(in_dim, num_classes)
        nn.init.zeros_(self.layer.bias)
        if zero_init:
            nn.init.zeros_(self.layer.weight)
        else:
            nn.init.normal_(self.layer.weight, std=_INITIAL_STD)
        self.out_dim = num_classes

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, [N, classes], of features h, [N, D]."""
        logits: Tensor = self.layer(features)
        return logits
