"""Cross-entropy with the labels: what makes a pretraining, or an evaluation that trains, a supervised one.

Enters: logits of every view, and the labels of the batch. Leaves: the loss. Called by `builtin.joint_embedding`, with
the rows of all ranks.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional

from sslkit import DataError, LossOutput


class CrossEntropy:
    """Softmax cross-entropy; for data with several labels an image, binary cross-entropy of every class.

    Several views of an image count as so many images: the loss is the mean over all of them. Of data with several
    labels an image it is added up over the classes, as in `builtin.linear` and `builtin.logistic_regression`: of each
    class, the mean over the images in which it is present or absent; where it is difficult (-1), an image is left out.

    An image without a label is refused. To look costs nothing on a CPU; a device would have to be waited for, so there
    the first batch is looked at, and in later ones a missing label makes the loss NaN, which stops the run as well.

    Args:
        dim: Outputs of the head; the engine says it.
        num_classes: Of the data; the engine says it.
        label_smoothing: Share of the target that is spread evenly over all classes.

    Raises:
        DataError: The head has not one output for each class.

    Attributes:
        needs_labels: Data without labels is refused before a run begins.
    """

    needs_labels = True

    def __init__(
        self,
        dim: int | None = None,
        num_classes: int | None = None,
        *,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ) -> None:
        if dim is not None and num_classes is not None and dim != num_classes:
            raise DataError(
                f"builtin.cross_entropy: the head has {dim} outputs, the data {num_classes} classes; "
                "name builtin.classifier as [pretrain.head]"
            )
        self._smoothing = label_smoothing
        self._has_looked = False

    def __call__(self, projections: list[Tensor], labels: Tensor) -> LossOutput:
        """Return the loss, and `top1`, the share of images whose class has the highest logit.

        Args:
            projections: Logits of V views, [B, classes] each.
            labels: int64 [B]; or [B, classes] with 1 present, 0 absent, -1 difficult.

        Raises:
            DataError: An image has no label, or the labels are of other classes than the logits.
        """
        if labels.device.type == "cpu" or not self._has_looked:
            _require_labels(labels, projections[0].shape[1])
            self._has_looked = True
        logits = torch.cat(projections)
        if labels.ndim == 2:
            return LossOutput(self._of_every_class(logits, labels.repeat(len(projections), 1)), {})
        targets = labels.repeat(len(projections))
        loss = functional.cross_entropy(logits, targets, ignore_index=-1, label_smoothing=self._smoothing)
        loss = loss.masked_fill((targets < 0).any(), torch.nan)
        return LossOutput(loss, {"top1": (logits.detach().argmax(dim=1) == targets).float().mean()})

    def _of_every_class(self, logits: Tensor, labels: Tensor) -> Tensor:
        known = labels >= 0
        targets = labels.clamp(min=0).to(logits.dtype) * (1 - self._smoothing) + self._smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return ((losses * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()


def _require_labels(labels: Tensor, num_outputs: int) -> None:
    if labels.ndim == 2:
        if labels.shape[1] != num_outputs:
            raise DataError(f"the data has {labels.shape[1]} labels an image, the head {num_outputs} outputs")
        return
    lowest, highest = (int(label) for label in labels.aminmax())
    if lowest < 0:
        raise DataError(
            f"{int((labels < 0).sum())} of {len(labels)} images of a batch have no label, and builtin.cross_entropy "
            "needs one for each; use data with labels, such as one folder per class"
        )
    if highest >= num_outputs:
        raise DataError(f"the data has a label {highest}, but the head {num_outputs} outputs; the classes count from 0")
