"""For the tests of NT-Xent: a literal double loop with every option, and samples."""

from __future__ import annotations

import torch
from sslkit_simclr import NTXent

from sslkit import Batch, JointEmbedding, Progress

OPTIONS = [
    {},
    {"normalise": False},
    {"negatives": "other_views"},
    {"decoupled": True},
    {"decoupled": True, "negatives": "other_views"},
    {"positives": "labels"},
    {"positives": "labels", "negatives": "other_views"},
    {"positives": "labels", "decoupled": True},
    {"positives": "labels", "decoupled": True, "negatives": "other_views", "normalise": False},
]


def literal_loss(views, temperature, *, normalise=True, positives="views", decoupled=False, negatives="all", labels=()):
    """Algorithm 1 written out in float64, one anchor and one candidate at a time."""
    z = torch.cat(list(views)).double()
    size = len(views[0])
    total = z.new_zeros(())
    for i in range(len(z)):
        similarity = []
        for k in range(len(z)):
            product = (z[i] * z[k]).sum()
            if normalise:
                product = product / (z[i].square().sum().sqrt() * z[k].square().sum().sqrt())
            similarity.append(product / temperature)
        candidates = [k for k in range(len(z)) if k != i]
        if negatives == "other_views":
            candidates = [k for k in candidates if k // size != i // size]
        own = [k for k in candidates if k % size == i % size]
        if positives == "labels" and labels[i % size] >= 0:
            own = [k for k in candidates if labels[k % size] == labels[i % size]]
        if decoupled:
            candidates = [k for k in candidates if k not in own]
        denominator = torch.stack([similarity[k] for k in candidates]).logsumexp(0) if candidates else 0
        total = total + denominator - sum(similarity[k] for k in own) / len(own)
    return total / len(z)


def random_views(num_views, size, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    anchor = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, size, dim, generator=generator, dtype=torch.float64)
    return [anchor + 0.7 * part for part in noise]


def some_labels(size):
    """Labels for any number of images: two large classes, far apart, and every fifth image without."""
    numbers = torch.arange(size)
    return torch.where(numbers % 5 == 3, -1, torch.where(numbers % 3 == 0, 2**40, 0))


def weighted(views, weight, labels, options):
    """Loss, metrics and the gradient of a weight that all projections come from, by way of the default method."""
    weight = weight.clone().requires_grad_()
    method = JointEmbedding(torch.nn.Identity(), None, NTXent(**options))
    batch = Batch(views, torch.arange(len(labels)), labels, Progress(0, 1, 1))
    loss, metrics = method.loss([view @ weight for view in views], batch)
    (gradient,) = torch.autograd.grad(loss, weight)
    return loss.detach(), gradient, metrics
