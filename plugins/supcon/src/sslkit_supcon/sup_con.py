"""SupCon: contrastive learning with labels.

Enters: the local projections z of V views, one tensor [B, P] a view, and labels. Leaves: the loss of the global batch
and NT-Xent's metrics. Called by the method, once a step; NT-Xent of the SimCLR plugin does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt
from sslkit_simclr import NTXent
from torch import Tensor, nn

from sslkit import LossOutput, Progress


class SupCon(nn.Module):
    """Every projection must pick out the views of all images of its label, one by one.

    `simclr.nt_xent` with `positives = "labels"` under the name of its paper. The loss is L_out, with the mean over an
    anchor's positives outside the logarithm, averaged over the V * B anchors of the global batch, where the paper
    adds them up and its code multiplies by temperature / 0.07.

    An image without a label (-1) has its own views as positives and is a negative of all others, as in NT-Xent: no
    image is thrown away, and a batch without any label is plain NT-Xent.

    Source: Khosla et al. 2020 (arXiv 2004.11362), equation 2 ("out"); temperature: section 4.

    Args:
        temperature: Divides the cosines.

    Attributes:
        needs_labels: Data without labels is refused before a run begins.

    Raises:
        ValueError: If the temperature is out of range.
    """

    min_views = 2
    rank_local = True
    needs_labels = True

    def __init__(self, *, temperature: Annotated[float, Gt(0)] = 0.1) -> None:
        super().__init__()
        self.contrast = NTXent(temperature=temperature, positives="labels")

    def forward(self, projections: Sequence[Tensor], labels: Tensor, progress: Progress | None = None) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [B, P] of this rank. Computed in float32, also inside autocast; float64 stays.
            labels: int64 [B], -1 where there is none.
            progress: Where the pretraining stands; metrics are left out of steps that are not measured.

        Returns:
            The scalar loss of the global batch, equal on all ranks, and `contrastive_accuracy` and
            `contrastive_entropy`, as of NT-Xent: they look for an image's own other view.

        Raises:
            ValueError: If there are fewer than two views, their shapes differ or are not [B, P], or there is not
                one label for each image.
        """
        if projections and labels.shape != projections[0].shape[:1]:
            raise ValueError(
                f"SupCon needs one label for each of {len(projections[0])} images, got shape {tuple(labels.shape)}; "
                "where images have several classes, take simclr.nt_xent, which needs none"
            )
        output: LossOutput = self.contrast(projections, labels, progress)
        return output
