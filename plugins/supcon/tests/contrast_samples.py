"""For the tests of SupCon and DCL: both losses as their papers write them, and samples."""

from __future__ import annotations

import torch
from sslkit_supcon import DCL, SupCon
from torch import nn

from sslkit import Batch, JointEmbedding, Progress

CASES = [
    (SupCon, {}),
    (SupCon, {"temperature": 0.5}),
    (DCL, {}),
    (DCL, {"temperature": 0.5}),
    (DCL, {"weighting": "von_mises_fisher"}),
    (DCL, {"weighting": "von_mises_fisher", "temperature": 0.3, "sigma": 0.1}),
]


def _cosine(first, second):
    return (first * second).sum() / (first.square().sum().sqrt() * second.square().sum().sqrt())


def literal_sup_con(views, labels, temperature=0.1):
    """Equation 2 of Khosla et al. 2020, averaged over i: anchors, positives P(i), all others A(i)."""
    index = [(v, b) for v in range(len(views)) for b in range(len(labels))]
    total = 0.0
    for i in index:
        others = [k for k in index if k != i]
        scores = {k: _cosine(views[i[0]][i[1]], views[k[0]][k[1]]) / temperature for k in others}
        denominator = torch.stack(list(scores.values())).exp().sum()
        positives = [k for k in others if k[1] == i[1] or labels[k[1]] == labels[i[1]] >= 0]
        total = total - sum((scores[p].exp() / denominator).log() for p in positives) / len(positives)
    return total / len(index)


def literal_dcl(views, labels, temperature=0.1, weighting="none", sigma=0.5):
    """L_DC and L_DCW of Yeh et al. 2022 for two views, one anchor at a time; more views: the mean over positives."""
    num_views, size = len(views), len(labels)
    total = 0.0
    for v in range(num_views):
        for i in range(size):
            negatives = [
                (_cosine(views[v][i], views[other][j]) / temperature).exp()
                for other in range(num_views)
                for j in range(size)
                if j != i
            ]
            for p in range(num_views):
                if p == v:
                    continue
                alike = [_cosine(views[v][j], views[p][j]) for j in range(size)]
                weight = 1.0
                if weighting == "von_mises_fisher":
                    exponentials = [(one.detach() / sigma).exp() for one in alike]
                    weight = 2 - exponentials[i] / (sum(exponentials) / size)
                loss = -weight * alike[i] / temperature + sum(negatives).log()
                total = total + loss / (num_views - 1)
    return total / (num_views * size)


LITERAL = {SupCon: literal_sup_con, DCL: literal_dcl}


def random_views(num_views, size, dim=6, seed=0):
    """Views that agree in part."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, size, dim, generator=generator, dtype=torch.float64)
    return [shared + 0.7 * part for part in noise]


def some_labels(size):
    """Two classes, and every fourth image without a label."""
    numbers = torch.arange(size)
    return torch.where(numbers % 4 == 3, -1, numbers % 3 % 2)


def weighted(objective, views, labels, weight):
    """Loss, metrics and the gradient of a weight that all projections come from, by way of the default method."""
    weight = weight.clone().requires_grad_()
    method = JointEmbedding(nn.Identity(), None, objective)
    batch = Batch(views, torch.arange(len(labels)), labels, Progress(0, 1, 1))
    loss, metrics = method.loss([view @ weight for view in views], batch)
    (gradient,) = torch.autograd.grad(loss, weight)
    return loss.detach(), gradient, metrics
