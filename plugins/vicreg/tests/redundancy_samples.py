"""For the tests of VICReg and Barlow Twins: both losses in loops, samples, and a network that can collapse."""

from __future__ import annotations

from itertools import combinations

import torch
from sslkit_vicreg import BarlowTwins, VICReg
from torch import nn

from sslkit import Batch, JointEmbedding, Progress

SHAPES = [(2, 7, 3), (2, 3, 7), (2, 5, 5), (2, 2, 4), (3, 4, 6), (4, 6, 2)]
"""Views, images, dimensions: more images than dimensions, fewer, as many; more views than two."""


def literal_vicreg(views, invariance_weight=25.0, variance_weight=25.0, covariance_weight=1.0):
    """Equations 1 to 6 of Bardes et al. 2022, with the divisors of their code, one number at a time."""
    total = 0.0
    pairs = list(combinations(views, 2))
    for first, second in pairs:
        size, dim = first.shape
        invariance = sum((first[n, j] - second[n, j]) ** 2 for n in range(size) for j in range(dim)) / (size * dim)
        variance, covariance = 0.0, 0.0
        for z in (first, second):
            means = [sum(z[n, j] for n in range(size)) / size for j in range(dim)]
            for i in range(dim):
                for j in range(dim):
                    shared = sum((z[n, i] - means[i]) * (z[n, j] - means[j]) for n in range(size)) / (size - 1)
                    if i == j:
                        variance = variance + torch.clamp(1 - (shared + 1e-4) ** 0.5, min=0) / dim / 2
                    else:
                        covariance = covariance + shared**2 / dim
        total = total + invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
    return total / len(pairs)


def literal_barlow_twins(views, off_diagonal_weight=0.0051, scale=1.0):
    """Equations 1 and 2 of Zbontar et al. 2021, on embeddings normalised over the batch, one number at a time."""
    total = 0.0
    pairs = list(combinations(views, 2))
    for pair in pairs:
        size, dim = pair[0].shape
        normalised = []
        for z in pair:
            columns = []
            for j in range(dim):
                mean = sum(z[n, j] for n in range(size)) / size
                variance = sum((z[n, j] - mean) ** 2 for n in range(size)) / size
                columns.append([(z[n, j] - mean) / (variance + 1e-5) ** 0.5 for n in range(size)])
            normalised.append(columns)
        for i in range(dim):
            for j in range(dim):
                c = sum(normalised[0][i][n] * normalised[1][j][n] for n in range(size)) / size
                total = total + scale * ((1 - c) ** 2 if i == j else off_diagonal_weight * c**2)
    return total / len(pairs)


LITERAL = {VICReg: literal_vicreg, BarlowTwins: literal_barlow_twins}

CASES = [
    (VICReg, {}),
    (VICReg, {"invariance_weight": 1.0, "variance_weight": 50.0, "covariance_weight": 30.0}),
    (BarlowTwins, {}),
    (BarlowTwins, {"off_diagonal_weight": 0.7, "scale": 0.1}),
]


def random_views(num_views, size, dim, seed=0):
    """Views that agree in part, in dimensions that are correlated and some of which vary too little."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_views, size, dim, generator=generator, dtype=torch.float64)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64) / dim**0.5
    lengths = torch.linspace(0.1, 2, dim, dtype=torch.float64)
    return [3 + (shared + 0.3 * part) @ mixing * lengths for part in noise]


def trained(objective, steps=150):
    """Train a small network without normalisation; return its features h and projections z, [256, D], of one view."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16))
    head = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    method = JointEmbedding(backbone, head, objective)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    images = torch.randn(256, 12)
    for step in range(steps):
        views = [images + 0.3 * torch.randn_like(images) for _ in range(2)]
        batch = Batch(views, torch.arange(256), torch.full((256,), -1), Progress(step, steps, 1))
        optimizer.zero_grad()
        method(batch)[0].backward()
        optimizer.step()
    with torch.no_grad():
        features = backbone(images)
        return features, head(features)


def redundancy(z):
    """Return the root mean square of the correlations between different dimensions."""
    correlations = torch.corrcoef(z.T)
    return correlations[~torch.eye(len(correlations), dtype=torch.bool)].square().mean().sqrt().item()


def weighted(objective, views, weight):
    """Loss, terms and the gradient of a weight that all projections come from, by way of the default method."""
    weight = weight.clone().requires_grad_()
    method = JointEmbedding(nn.Identity(), None, objective)
    size = len(views[0])
    batch = Batch(views, torch.arange(size), torch.full((size,), -1), Progress(0, 1, 1))
    loss, metrics = method.loss([view @ weight for view in views], batch)
    (gradient,) = torch.autograd.grad(loss, weight)
    return loss.detach(), gradient, metrics
