"""The normalised regression of both methods: predictions of one view against the targets of the others.

Enters: predictions, targets and projections of a rank's batch, one tensor [B, P] a view. Leaves: how well they agree;
how far projections are from one point. Called by `byol` and `simsiam`, once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslkit import RunError, gather_rows


def agreement(owner: str, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Return the cosine of predictions with targets of another view: the mean over images and ordered pairs of views.

    The squared distance of the two, normalised to length 1, is `2 - 2 * cosine`.

    Args:
        owner: Who asks, for messages.
        predictions: V >= 2 tensors [B, P]. Computed in float32, also inside autocast; float64 stays.
        targets: V tensors [B, P]; what has no gradient is not given one.

    Raises:
        RunError: There are fewer than two views.
    """
    if len(predictions) < 2:
        raise RunError(f"{owner} predicts one view of an image from another, but pretrain.views makes one; make two")
    predicted, aimed_at = ([_direction(rows) for rows in side] for side in (predictions, targets))
    pairs = permutations(range(len(predicted)), 2)
    return torch.stack([(predicted[one] * aimed_at[other]).sum(dim=1).mean() for one, other in pairs]).mean()


@torch.no_grad()
def spread(projections: Sequence[Tensor]) -> Tensor:
    """Return the standard deviation of normalised projections over the global batch, the mean over dimensions.

    About 1 / sqrt(P) where they lie all around the sphere, 0 where all are one point: collapse.
    Source: Chen and He 2021 (SimSiam, arXiv 2011.10566), section 4.1 and figure 2.

    Args:
        projections: V tensors [B, P].
    """
    rows = gather_rows(torch.stack([_direction(view) for view in projections], dim=1))
    return rows.flatten(end_dim=1).std(dim=0).mean()


def _direction(rows: Tensor) -> Tensor:
    # In half precision the cosines of similar rows lose the differences that the loss lives from.
    return normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=1)
