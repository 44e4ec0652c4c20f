"""Which negative an anchor is pushed from, if from one only: the semi-hard one.

Enters: the rows of two views. Leaves: a row for each anchor, and whether it has one. Called by `pairs`, once a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit_simclr.row_blocks import similarities


@torch.no_grad()
def semi_hard_negatives(rows: Tensor, *, other_views: bool) -> tuple[Tensor, Tensor]:
    """Return each anchor's nearest negative among those that are farther than its positive.

    A negative as near as the positive is not farther. Of several that are equally near one is taken, always the same.
    Whether the one returned lies within a margin is left to the loss: if it does not, no other does.

    Source: Schroff et al. 2015 (FaceNet), section 3.2, which SimCLR, section 5.1, refers to. SimCLR's own rule is not
    published in full.

    Args:
        rows: [2 N, P], the second view below the first; their dot products are the similarities.
        other_views: Negatives come from the other view only.

    Returns:
        int64 [2 N], the numbers of rows; and bool [2 N], False where no negative is farther than the positive, so that
        the number means nothing.
    """
    size = len(rows) // 2
    first, second = rows[:size], rows[size:]
    nearest = rows.new_empty(len(rows))
    negatives = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    for anchors, other, offset in ((first, second, 0), (second, first, size)):
        columns = other if other_views else torch.cat((other, anchors))
        for part, block in similarities(anchors, columns):
            positive = block.diagonal(part.start)[:, None].clone()
            for own in range(part.start, len(columns), size):  # the positive, and the anchor itself
                block.diagonal(own).fill_(-torch.inf)
            block.masked_fill_(block >= positive, -torch.inf)
            here = slice(offset + part.start, offset + part.stop)
            torch.max(block, dim=1, out=(nearest[here], negatives[here]))
    negatives[:size] += size  # the first view's columns begin with the second view
    return negatives.remainder_(2 * size), nearest > -torch.inf
