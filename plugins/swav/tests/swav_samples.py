"""For the tests of SwAV: its loss in loops, samples, and a network that can collapse."""

from __future__ import annotations

import math

import numpy as np
import torch
from sslkit_swav import SwappedPrediction
from torch import nn

from sslkit import Batch, JointEmbedding, Progress, rank, sum_over_ranks, world_size

OPTIONS = {"prototypes": 5, "temperature": 0.1, "epsilon": 0.05, "queue_length": 9, "queue_from_epoch": 0}


def random_views(num_views, size, dim, seed=0):
    """Views that agree in part, float64."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, size, dim, generator=generator, dtype=torch.float64)
    return [shared + 0.5 * part for part in noise]


def literal_codes(scores, epsilon, iterations):
    """The algorithm of Sinkhorn and Knopp on exp(scores / epsilon), [N, K], one number at a time, float64."""
    num_images, num_prototypes = scores.shape
    q = [[math.exp(scores[n, k] / epsilon) for n in range(num_images)] for k in range(num_prototypes)]
    total = sum(map(sum, q))
    q = [[value / total for value in row] for row in q]
    for _ in range(iterations):
        for k in range(num_prototypes):
            share = sum(q[k]) * num_prototypes
            q[k] = [value / share for value in q[k]]
        for n in range(num_images):
            share = sum(q[k][n] for k in range(num_prototypes)) * num_images
            for k in range(num_prototypes):
                q[k][n] /= share
    sums = [sum(q[k][n] for k in range(num_prototypes)) for n in range(num_images)]
    return np.array([[q[k][n] / sums[n] for k in range(num_prototypes)] for n in range(num_images)])


def literal_loss(views, prototypes, queue=None, *, temperature, epsilon, iterations, num_global_views):
    """Equations 1, 2 and 6 of Caron et al. 2020 in loops; codes by `literal_codes` in numpy, so without gradient.

    Args:
        views: V tensors [B, P].
        prototypes: [K, P], of length 1.
        queue: [G, L, P], of length 1.
    """
    unit = [[row / row.square().sum().sqrt() for row in view] for view in views]
    total, terms = 0.0, 0
    for g in range(num_global_views):
        rows = [*unit[g], *([] if queue is None else queue[g])]
        scores = np.array([[float((row.detach() * c).sum()) for c in prototypes.detach()] for row in rows])
        codes = literal_codes(scores, epsilon, iterations)
        for v in range(len(views)):
            if v == g:
                continue
            terms += 1
            for n, row in enumerate(unit[v]):
                exponentials = [torch.exp((row * c).sum() / temperature) for c in prototypes]
                for k, value in enumerate(exponentials):
                    total = total - codes[n, k] * torch.log(value / sum(exponentials)) / len(unit[v])
    return total / terms


def progress(step, steps_per_epoch=4.0):
    return Progress(step, 100, steps_per_epoch)


def trained(objective, steps=150, local_views=1):
    """Train a small network without normalisation; return the unit projections [256, P] of one view."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16))
    head = nn.Linear(16, 8)
    method = JointEmbedding(backbone, head, objective)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    images = torch.randn(256, 12)
    for step in range(steps):
        views = [images + 0.3 * torch.randn_like(images) for _ in range(2 + local_views)]
        now = Progress(step, steps, 10)
        batch = Batch(views, torch.arange(256), torch.full((256,), -1), now)
        optimizer.zero_grad()
        method(batch)[0].backward()
        method.after_backward(now)
        optimizer.step()
        method.after_step(now)
    with torch.no_grad():
        return nn.functional.normalize(head(backbone(images)), dim=1)


def three_steps():
    """Losses, and what three steps make of a weight that all projections come from, of prototypes and of the queue."""
    torch.manual_seed(0)
    objective = SwappedPrediction(6, **OPTIONS, frozen_epochs=0).double()
    weight = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    method = JointEmbedding(nn.Identity(), None, objective)
    optimizer = torch.optim.SGD([weight, *objective.parameters()], lr=0.1)
    losses = []
    for step in range(3):
        views = [view[rank() :: world_size()] for view in random_views(3, 8, 7, seed=step)]
        size = len(views[0])
        batch = Batch(views, torch.arange(size), torch.full((size,), -1), progress(step))
        loss, metrics = method.loss([view @ weight for view in views], batch)
        optimizer.zero_grad()
        loss.backward()
        for parameter in (weight, objective.prototypes):
            parameter.grad = sum_over_ranks(parameter.grad) / world_size()
        method.after_backward(batch.progress)
        optimizer.step()
        method.after_step(batch.progress)
        losses += [loss.detach(), *metrics.values()]
    return torch.stack(losses), weight.detach(), objective.prototypes.detach(), objective.queue
