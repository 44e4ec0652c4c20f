"""Weighted k-nearest-neighbour classification of frozen features: no training, and no setting that matters much.

Enters: the features of the splits `train` (the bank) and `test`. Leaves: the accuracies of the data and every
prediction. Called by the engine for each `[[evaluate]]` table that names it.
"""

from __future__ import annotations

from typing import Annotated, Final

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import normalize

from sslkit import (
    Data,
    Evaluation,
    Outcome,
    Pretrained,
    Work,
    check_labels,
    classification_outcome,
    count_classes,
    labelled_features,
    needs_labels,
)

_CHUNK_NUMBERS: Final = 2**25  # similarities held at once: 128 MiB of float32
_GROUP: Final = 16  # images of which first only the nearest is looked at


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

    @needs_labels
    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        bank = labelled_features(pretrained, data, "train")
        queries = labelled_features(pretrained, data, "test")
        num_classes = count_classes(data, bank.labels, queries.labels)
        used_k = min(k, len(bank.values))
        device = pretrained.device
        votes = knn_votes(
            queries.values.to(device), bank.values.to(device), bank.labels, num_classes, used_k, temperature
        )
        # A class without a vote is no guess: k = 1 names one class, not the first five.
        outcome = classification_outcome(votes.where(votes > 0, torch.nan), queries.labels, data)
        outcome.metrics["k"] = float(used_k)
        return outcome

    def check(backbone: nn.Module, measure: str, data: Data) -> None:
        check_labels(data, "train", "test", multi_label=False)

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work(features=("train", "test"))  # type: ignore[attr-defined]
    return evaluate


def knn_votes(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """Return the votes for every class, float64 [n, classes] on the CPU, each row up to a positive factor.

    Args:
        queries: Features [n, D].
        bank: Features [m, D], m >= k.
        bank_labels: int64 [m], on the CPU.
        num_classes: Number of classes.
        k: Number of neighbours.
        temperature: Of the votes.
    """
    queries, bank = normalize(queries, dim=1), normalize(bank, dim=1)
    chunk = min(max(1, _CHUNK_NUMBERS // len(bank)), len(queries))
    similarities = queries.new_empty(chunk, len(bank))  # one for all chunks: fresh memory costs as much as a search
    votes = torch.zeros(len(queries), num_classes, dtype=torch.float64)
    for part, row in zip(torch.split(queries, chunk), torch.split(votes, chunk), strict=True):
        torch.mm(part, bank.T, out=similarities[: len(part)])
        nearest, neighbours = (found.cpu() for found in _nearest(similarities[: len(part)], k))
        # Less the row's largest: the ratios of the votes are the same, and no temperature overflows.
        weights = ((nearest - nearest[:, :1]).double() / temperature).exp()
        row.scatter_add_(1, bank_labels[neighbours], weights)
    return votes


def _nearest(similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row with their positions, the lower position first among equals."""
    values, positions = _largest(similarities, min(k + 1, similarities.shape[1]))
    # Any of the images that tie for the last place may have been found: where one more ties with it, sort them all.
    unsure = (values[:, k - 1 : k] == values[:, k:]).nonzero()[:, 0]
    values, positions = values[:, :k], positions[:, :k]
    if len(unsure):
        ordered = similarities[unsure].sort(dim=1, descending=True, stable=True)
        values[unsure], positions[unsure] = ordered.values[:, :k], ordered.indices[:, :k]
    return values, positions


def _largest(similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row with their positions, in any order among equals.

    In long rows they are looked for in the k groups with the largest maxima: all others are topped by k numbers.
    """
    width = similarities.shape[1]
    num_groups = width // _GROUP
    if num_groups < 2 * k:
        return similarities.topk(k, dim=1)
    maxima = similarities[:, : num_groups * _GROUP].view(-1, _GROUP, num_groups).amax(dim=1)
    groups = maxima.topk(k, dim=1, sorted=False).indices
    members = torch.arange(_GROUP, device=groups.device)[:, None] * num_groups
    rest = torch.arange(num_groups * _GROUP, width, device=groups.device).expand(len(groups), -1)
    places = torch.cat([(groups[:, None] + members).flatten(1), rest], dim=1)
    values, found = similarities.gather(1, places).topk(k, dim=1)
    return values, places.gather(1, found)
