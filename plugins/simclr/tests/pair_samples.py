"""For the tests of losses of pairs: a literal double loop with every option."""

from __future__ import annotations

import torch
from sslkit_simclr import MarginTriplet, NTLogistic

from sslkit import Batch, JointEmbedding, Progress

CHOICES = [
    {"negatives": negatives, "mining": mining}
    for negatives in ("all", "other_views")
    for mining in ("all", "semi_hard")
]
CASES = [
    *((NTLogistic, {"temperature": temperature, **options}) for temperature in (0.1, 1.0) for options in CHOICES),
    *((MarginTriplet, {"margin": margin, **options}) for margin in (0.4, 1.6) for options in CHOICES),
    (MarginTriplet, {"margin": 0.0}),
]
FEW = [case for case in CASES if case[1].get("temperature") != 1.0 and case[1].get("margin") not in (0.0, 1.6)]


def name_of(case):
    """The name of a test's case."""
    return case.__name__ if isinstance(case, type) else "-".join(map(str, case.values()))


def negatives_of(anchor, size, negatives="all"):
    """The rows of other images, of both views or of the one that an anchor is not from."""
    rows = [row for row in range(2 * size) if row % size != anchor % size]
    return [row for row in rows if negatives == "all" or row // size != anchor // size]


def semi_hard(similarities, positive, among, margin=float("inf")):
    """The nearest of those that are farther than the positive and within the margin, or None."""
    chosen = None
    for row in among:
        is_semi_hard = (
            similarities[row] < similarities[positive] and positive_lead(similarities, positive, row) < margin
        )
        if is_semi_hard and (chosen is None or similarities[row] > similarities[chosen]):
            chosen = row
    return chosen


def positive_lead(similarities, positive, row):
    """By how much the positive is more similar than a row."""
    return similarities[positive] - similarities[row]


def literal_loss(views, *, temperature=None, margin=None, negatives="all", mining="all"):
    """Table 2 written out, one anchor and one negative at a time."""
    size = len(views[0])
    z = torch.cat(list(views))
    z = z / z.square().sum(dim=1, keepdim=True).sqrt()
    total = 0 * z.sum()  # differentiable even if no triplet costs anything
    for i in range(2 * size):
        similarities, positive = [(z[i] * row).sum() for row in z], (i + size) % (2 * size)
        among = negatives_of(i, size, negatives)
        if mining == "semi_hard":
            chosen = semi_hard(similarities, positive, among, float("inf") if margin is None else margin)
            among = [] if chosen is None else [chosen]
        if margin is None:
            total = total - torch.nn.functional.logsigmoid(similarities[positive] / temperature)
            terms = [-torch.nn.functional.logsigmoid(-similarities[row] / temperature) for row in among]
        else:
            terms = [(margin - positive_lead(similarities, positive, row)).clamp(min=0) for row in among]
        total = total + sum(terms) / max(len(terms), 1)
    return total / (2 * size)


def by_way_of_the_method(views, weight, kind, options):
    """Loss, metrics and the gradient of a weight that all projections come from."""
    weight = weight.clone().requires_grad_()
    method = JointEmbedding(torch.nn.Identity(), None, kind(**options))
    batch = Batch(views, torch.arange(len(views[0])), torch.full((len(views[0]),), -1), Progress(0, 1, 1))
    loss, metrics = method.loss([view @ weight for view in views], batch)
    (gradient,) = torch.autograd.grad(loss, weight)
    return loss.detach(), gradient, metrics
