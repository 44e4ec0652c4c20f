"""For the tests of NT-Xent: a literal double loop with every option, samples, and what each of several ranks checks."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import torch
import torch.distributed as dist
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


COLLECTIVE = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"


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


def check_ranks(rank, folder, cases):
    """Be one of 4 ranks, then of 2: averages over ranks equal a single process, and backward talks to nobody.

    Args:
        rank: Number of this process.
        folder: Where the processes meet.
        cases: Number of views, images of the global batch and options of each.
    """
    torch.set_num_threads(1)
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    alone = [weighted(random_views(*shape), weight, some_labels(shape[1]), options) for *shape, options in cases]
    for world in (4, 2):
        if rank >= world:
            return
        store = f"file://{folder}/world_{world}"
        dist.init_process_group("gloo", store, timedelta(seconds=60), world_size=world, rank=rank)
        mine = slice(rank, None, world)
        for (*shape, options), (loss, gradient, metrics) in zip(cases, alone, strict=True):
            views = [view[mine] for view in random_views(*shape)]
            with mock.patch.object(dist, COLLECTIVE, wraps=getattr(dist, COLLECTIVE)) as gather:
                ours = weighted(views, weight, some_labels(shape[1])[mine], options)
            assert gather.call_count == (3 if "positives" in options else 2)
            every = [torch.empty_like(loss) for _ in range(world)]
            dist.all_gather(every, ours[0])
            assert all(torch.equal(value, every[0]) for value in every)
            torch.testing.assert_close(ours[0], loss, rtol=1e-12, atol=1e-12)
            assert metrics.keys() == ours[2].keys()
            for expected, value in zip([gradient, *metrics.values()], [ours[1], *ours[2].values()], strict=True):
                dist.all_reduce(value)
                torch.testing.assert_close(value / world, expected, rtol=1e-12, atol=1e-12)
        dist.destroy_process_group()
