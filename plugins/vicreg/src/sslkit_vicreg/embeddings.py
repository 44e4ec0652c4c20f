"""What both objectives do to embeddings: look at them, and add up what their dimensions have in common.

Enters: the projections of the global batch, one tensor [N, D] a view. Leaves: the same in full precision; a sum over
pairs of dimensions. Called by `vicreg` and `barlow_twins`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit import RunError


def in_full_precision(owner: str, projections: Sequence[Tensor]) -> list[Tensor]:
    """Return the projections in float32, or float64 where they are.

    Args:
        owner: Who asks, for messages.
        projections: V >= 2 tensors [N, D] of one shape.

    Raises:
        ValueError: If there are fewer than two views, or their shapes differ or are not [N, D].
        RunError: If the batch has one image only: nothing varies in it.
    """
    shapes = [tuple(view.shape) for view in projections]
    if len(shapes) < 2:
        raise ValueError(f"{owner} needs at least 2 views of each image, got {len(shapes)}: set num_views = 2")
    if any(shape != shapes[0] for shape in shapes) or len(shapes[0]) != 2:
        raise ValueError(f"{owner} needs projections [N, D], of one shape for all views, got {shapes}")
    if shapes[0][0] < 2:
        raise RunError(
            f"{owner} measures how embeddings vary from image to image, and the batch has {shapes[0][0]}: "
            "set pretrain.batch_size to 2 or more"
        )
    return [view if view.dtype == torch.float64 else view.float() for view in projections]


def off_diagonal_squares(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of squares of `first.T @ second`, [D, D], without its diagonal.

    That matrix is made only if the batch is larger than D. Otherwise two of [N, N] have the same sum, by
    `|A.T B|^2 = trace(A A.T B B.T)`: a batch of 256 with 8192 dimensions needs half a megabyte instead of 268.

    Args:
        first: [N, D].
        second: [N, D]; may be the same tensor.
    """
    num_rows, dim = first.shape
    if dim <= num_rows:
        return (first.T @ second).fill_diagonal_(0.0).square().sum()
    of_first = first @ first.T
    of_second = of_first if second is first else second @ second.T
    return (of_first * of_second).sum() - (first * second).sum(dim=0).square().sum()
