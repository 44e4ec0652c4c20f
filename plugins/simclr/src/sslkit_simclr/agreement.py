"""How well the views of an image find each other: contrastive accuracy and entropy.

Enters: anchors of one view, candidates of the other, dot products being logits. Leaves: two metrics. Called by
`nt_xent` and `pairs`, in steps that are measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit import full_precision
from sslkit_simclr.row_blocks import exp_, similarities


@torch.no_grad()
def agreement(anchors: Tensor, candidates: Tensor, positive: Tensor) -> dict[str, Tensor]:
    """Return how the anchors choose among the candidates.

    Source: `model.py` of the paper's code, which compares view 1 with the N candidates of view 2 only.

    Args:
        anchors: [n, P].
        candidates: [N, P].
        positive: int64 [n], which candidate is the anchor's other view.

    Returns:
        The scalars `contrastive_accuracy`, the fraction of anchors whose positive is the most similar candidate, and
        `contrastive_entropy` of the softmax over the candidates, in nats.
    """
    hits, entropies = anchors.new_empty(len(anchors)), anchors.new_empty(len(anchors))
    with full_precision(anchors.device):
        for part, logits in similarities(anchors, candidates):
            hits[part] = (logits.argmax(dim=1) == positive[part]).to(hits.dtype)
            logits -= logits.amax(dim=1, keepdim=True)
            weights = exp_(logits.clone())
            sums = weights.sum(dim=1)
            entropies[part] = sums.log() - weights.mul_(logits).sum(dim=1) / sums
    return {"contrastive_accuracy": hits.mean(), "contrastive_entropy": entropies.mean()}
