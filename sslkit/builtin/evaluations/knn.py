"""Weighted k-nearest-neighbour classification of frozen features: no training, and no setting that matters much.

Enters: the features of the splits `train` (the bank) and `test`. Leaves: top-1 and top-5 accuracy and every
prediction. Called by the engine for each `[[evaluate]]` table that names it.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import normalize

from sslkit import Data, Evaluation, Outcome, Pretrained
from sslkit.builtin.evaluations.labelled import (
    classification_outcome,
    count_classes,
    label_ranks,
    labelled_features,
)

_CHUNK_NUMBERS = 2**25  # similarities held at once: 128 MiB of float32, three times that with the comparisons


def knn(*, k: Annotated[int, Ge(1)] = 200, temperature: Annotated[float, Gt(0)] = 0.07) -> Evaluation:
    """Return the evaluation: each test image gets the class with the most votes of its nearest training images.

    Near is cosine similarity s; a neighbour's vote weighs exp(s / temperature). The search is exact: among
    equally near images the one first in the bank counts, among equally voted classes the lowest index wins.
    Source: Wu et al. 2018 (Unsupervised Feature Learning via Non-Parametric Instance Discrimination), section
    3.4, with its k and temperature.

    Args:
        k: Number of neighbours, at most the number of training images; the metric `k` says how many it were.
        temperature: Smaller values listen more to the very nearest.
    """

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        bank = labelled_features(pretrained, data, "train")
        queries = labelled_features(pretrained, data, "test")
        num_classes = count_classes(data, bank.labels, queries.labels)
        used_k = min(k, len(bank.values))
        device = pretrained.device
        labels = queries.labels.to(device)
        votes = knn_votes(
            queries.values.to(device),
            bank.values.to(device),
            bank.labels.to(device),
            num_classes,
            used_k,
            temperature,
        )
        ranks = label_ranks(votes, labels)
        # A class without a vote is no guess: k = 1 names one class, not the first five.
        voted = votes.gather(1, labels[:, None])[:, 0] > 0
        hits = {top: (ranks < top) & voted for top in (1, 5)}
        outcome = classification_outcome(votes.argmax(dim=1), hits, labels, num_classes)
        outcome.metrics["k"] = float(used_k)
        return outcome

    return evaluate


def knn_votes(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Return the votes for every class, float64 [n, classes], each row up to a positive factor.

    Args:
        queries: Features [n, D].
        bank: Features [m, D], m >= k.
        bank_labels: int64 [m].
        num_classes: Number of classes.
        k: Number of neighbours.
        temperature: Of the votes.
    """
    queries, bank = normalize(queries, dim=1), normalize(bank, dim=1)
    chunk = max(1, _CHUNK_NUMBERS // len(bank))
    votes = []
    for part in torch.split(queries, chunk):
        similarities, neighbours = _nearest(part @ bank.T, k)
        # Less the row's largest: the ratios of the votes are the same, and no temperature overflows.
        weights = ((similarities - similarities[:, :1]).double() / temperature).exp()
        row = torch.zeros(len(part), num_classes, dtype=torch.float64, device=part.device)
        votes.append(row.scatter_add_(1, bank_labels[neighbours], weights))
    return torch.cat(votes)


def _nearest(similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row with their positions, the lower position first among equals."""
    values, positions = similarities.topk(k, dim=1)
    last = values[:, -1:]
    # topk takes any of the images that tie for the last place; only rows where some were left out matter.
    unsure = ((similarities == last).sum(dim=1) > (values == last).sum(dim=1)).nonzero()[:, 0]
    if len(unsure):
        ordered = similarities[unsure].sort(dim=1, descending=True, stable=True)
        values[unsure], positions[unsure] = ordered.values[:, :k], ordered.indices[:, :k]
    return values, positions
