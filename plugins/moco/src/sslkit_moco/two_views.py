"""What both methods do alike: take two views, compare directions, and look at their options.

Enters: a batch; projections; options. Leaves: two views; unit vectors; nothing. Called by `v2` and `v3`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslkit import Batch, RunError, full_precision


def two_views(owner: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the two views of a batch.

    Args:
        owner: Who asks, for the message.
        batch: With V views.

    Raises:
        RunError: There are more or fewer.
    """
    if len(batch.views) != 2:
        made = "1 view" if len(batch.views) == 1 else f"{len(batch.views)} views"
        raise RunError(f"{owner} compares 2 views of each image, and pretrain.views makes {made}; set num_views = 2")
    return batch.views[0], batch.views[1]


def directions(projections: Tensor) -> Tensor:
    """Return projections [N, P] as unit vectors, in float32 also inside autocast; float64 stays."""
    with full_precision(projections.device):
        return normalize(projections if projections.dtype == torch.float64 else projections.float(), dim=1)


def require_share(owner: str, name: str, value: float) -> None:
    """Refuse an option that is not a number from 0 to 1.

    Raises:
        ValueError: It is not.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{owner}: {name} must be from 0 to 1, not {value}")


def require_positive(owner: str, name: str, value: float) -> None:
    """Refuse an option that is not a finite number above 0.

    Raises:
        ValueError: It is not.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{owner}: {name} must be a finite number above 0, not {value}")
