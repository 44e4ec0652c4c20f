"""NT-Xent, the contrastive objective of SimCLR.

Enters: the projections z of V views, one tensor [B, P] a view, row b of each from image b. Leaves: the loss and
two metrics. Called by the method, once a step, on the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from sslkit import LossOutput

_MIN_NORM = 1e-6
"""Shortest length that is still normalised to 1. Source: `tf.math.l2_normalize` of the paper's code, which floors
the squared length at 1e-12; it also bounds the gradient at a zero vector."""


class NTXent(nn.Module):
    """Normalised temperature-scaled cross-entropy: every projection must pick out the other views of its image.

    For anchor i with positive p, among all N = V * B projections but i itself,
    `l(i, p) = -log(exp(sim(i, p) / temperature) / sum_k exp(sim(i, k) / temperature))`. The loss is the mean over
    the N anchors. With V > 2 views the V - 1 positives of an anchor are averaged outside the logarithm.

    Source: SimCLR, section 2.1, equation 1 and algorithm 1 (the paper's code minimises twice this value);
    V > 2: Khosla et al. 2020, equation 2 ("out").

    Args:
        temperature: Divides the similarities. The paper uses 0.1 on ImageNet (table 5) and 0.5 on CIFAR-10
            (appendix B.9).
        normalise: Compare directions only, sim = cosine. False compares plain dot products: the rows without
            l2 normalisation of the paper's table 5.

    Raises:
        ValueError: If the temperature is not positive.
    """

    min_views = 2

    def __init__(self, *, temperature: Annotated[float, Ge(0.001)] = 0.1, normalise: bool = True) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"NTXent: temperature must be above 0, not {temperature}")
        self.temperature = temperature
        self.normalise = normalise

    def forward(self, projections: Sequence[Tensor]) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [B, P]. Computed in float32, also inside autocast; float64 stays float64.

        Returns:
            The scalar loss, and the detached scalars `contrastive_accuracy` (a fraction) and
            `contrastive_entropy` (nats). Both compare view 1 with view 2 only, B candidates.
            Source: `model.py` of the paper's code.

        Raises:
            ValueError: If there are fewer than two views, or their shapes differ or are not [B, P] with B >= 1.
        """
        _check(projections)
        with torch.autocast(projections[0].device.type, enabled=False):
            views = [view if view.dtype == torch.float64 else view.float() for view in projections]
            if self.normalise:
                views = [F.normalize(view, dim=1, eps=_MIN_NORM) for view in views]
            scaled = [view / self.temperature for view in views]
            logits = torch.cat(scaled) @ torch.cat(views).T
            batch_size = len(views[0])
            metrics = _metrics(logits.detach()[:batch_size, batch_size : 2 * batch_size])
            logits.fill_diagonal_(-torch.inf)
            positives = torch.stack([(scaled[a] * views[b]).sum() for a, b in combinations(range(len(views)), 2)])
            # Each pair of views is two anchors with one positive each, of V * B * (V - 1) in all.
            num_positives = len(logits) * (len(views) - 1)
            loss = logits.logsumexp(dim=1).mean() - 2 * positives.sum() / num_positives
        return LossOutput(loss, metrics)

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return f"temperature={self.temperature}, normalise={self.normalise}"


def _check(projections: Sequence[Tensor]) -> None:
    shapes = [tuple(view.shape) for view in projections]
    if len(shapes) < 2:
        raise ValueError(f"NTXent needs at least 2 views of each image, got {len(shapes)}: set num_views = 2")
    if len(shapes[0]) != 2 or shapes[0][0] < 1:
        raise ValueError(f"NTXent needs projections [B, P] with B >= 1, got shape {shapes[0]}")
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"NTXent needs projections of one shape for all views, got {shapes}")


@torch.no_grad()
def _metrics(logits: Tensor) -> dict[str, Tensor]:
    """Return accuracy and entropy of view 1 against view 2, from logits [B, B]."""
    log_share = logits.log_softmax(dim=1)
    own = torch.arange(len(logits), device=logits.device)
    return {
        "contrastive_accuracy": (logits.argmax(dim=1) == own).to(logits.dtype).mean(),
        "contrastive_entropy": -(log_share.exp() * log_share).sum(dim=1).mean(),
    }
