"""For the tests of SupCon and DCL: both losses as their papers write them, samples, and what two ranks check."""

from __future__ import annotations

from datetime import timedelta

import torch
import torch.distributed as dist
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


def check_ranks(rank, folder):
    """Be one of two ranks: the loss is that of a single process, and so are the means of gradients and metrics."""
    torch.set_num_threads(1)
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = some_labels(8)
    cases = [(kind(**options), random_views(num_views, 8)) for kind, options in CASES for num_views in (2, 3)]
    alone = [weighted(objective, views, labels, weight) for objective, views in cases]
    dist.init_process_group("gloo", f"file://{folder}/store", timedelta(seconds=60), world_size=2, rank=rank)
    for (objective, views), (loss, gradient, metrics) in zip(cases, alone, strict=True):
        ours = weighted(objective, [view[rank::2] for view in views], labels[rank::2], weight)
        torch.testing.assert_close(ours[0], loss, rtol=1e-12, atol=1e-12)
        assert ours[2].keys() == metrics.keys()
        for expected, value in zip([gradient, *metrics.values()], [ours[1], *ours[2].values()], strict=True):
            dist.all_reduce(value)
            torch.testing.assert_close(value / 2, expected, rtol=1e-11, atol=1e-11)
    DCL()([view[rank : rank + 1] for view in random_views(2, 2)])  # one image on each rank is a batch of two
    dist.destroy_process_group()
