"""MoCo v2: every query must find its key among a long queue of earlier ones.

Enters: two views of a batch. Leaves: the InfoNCE loss of the queries, and how many found their key. Called by the
engine's step; the queue and the key network move after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from sslkit import Batch, LossOutput, PluginError, Progress, full_precision, gather_rows
from sslkit_moco.grouped_copy import GroupedCopy
from sslkit_moco.key_queue import KeyQueue
from sslkit_moco.two_views import directions, require_positive, require_share, two_views


class MoCoV2(nn.Module):
    """Momentum contrast: a query, one key that belongs to it, and a queue of keys that do not.

    The query q comes from the first view through backbone and head; its key k from the second view through slow copies
    of both. All are unit vectors. The loss is the mean over the queries of
    `-log(exp(q.k / t) / (exp(q.k / t) + sum over the queue of exp(q.n / t)))`. No gradient reaches the keys. After the
    update the copies move: `copy = momentum * copy + (1 - momentum) * network`, and the keys of the global batch take
    the place of the oldest in the queue, in the order of a single process, on all ranks alike.

    With a head of one linear layer, a temperature of 0.07 and weaker views this is the first MoCo.

    Source: He et al. 2020 (MoCo, arXiv 1911.05722), section 3, equations 1 and 2, algorithm 1; Chen et al. 2020 (MoCo
    v2, arXiv 2003.04297); the authors' code.

    Args:
        backbone: The engine gives it; what is kept.
        head: The engine gives it. MoCo v2 has `builtin.mlp` with `norm = "none"`, `out_dim = 128`.
        queue_size: Keys in the queue, K: the negatives of every query. Source: MoCo, section 4.1.
        momentum: m, the share of its own past that the key network keeps in each step. MoCo fails with 0, and loses by
            0.9. Source: MoCo, section 4.1 and the ablation of m.
        temperature: t. 0.07 in MoCo, 0.2 in MoCo v2. Source: MoCo v2, section 3.
        key_groups: Groups of a batch in which keys are normalised, each by BatchNorm statistics of its own; queries are
            normalised over the whole batch. It has to divide the images that a process embeds at once. 8 are the GPUs
            of the papers, and the splits of the authors' CIFAR-10 demo. See `GroupedCopy`.
        symmetric: Exchange the views, too, and add the second loss; both views' keys go into the queue. Source: the
            authors' CIFAR-10 demo.

    Attributes:
        queue: The keys, [K, P] in `queue.keys`; saved with the method.

    Raises:
        ValueError: If an option is out of range.
        PluginError: If the head does not say how wide its projections are.
    """

    min_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        queue_size: Annotated[int, Ge(1)] = 65536,
        momentum: Annotated[float, Interval(ge=0, le=1)] = 0.999,
        temperature: Annotated[float, Gt(0)] = 0.2,
        key_groups: Annotated[int, Ge(1)] = 8,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("queue_size", queue_size), ("temperature", temperature), ("key_groups", key_groups)):
            require_positive("moco.v2", name, value)
        require_share("moco.v2", "momentum", momentum)
        dim = getattr(head, "out_dim", None)
        if not isinstance(dim, int):
            raise PluginError(f"moco.v2: the head {type(head).__name__} has no integer out_dim")
        self.backbone = backbone
        self.head = head
        self.key_backbone = GroupedCopy(backbone, key_groups)
        self.key_head = GroupedCopy(head, key_groups)
        self.queue = KeyQueue(queue_size, dim)
        self.momentum = momentum
        self.temperature = temperature
        self.symmetric = symmetric
        self._made: Tensor | None = None  # this step's keys, until they are enqueued

    def embed(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Return features of queries and of their keys, [B, D] each; both ways round if the loss is symmetric.

        Raises:
            RunError: There are not two views, or the batch cannot be cut into the groups of keys.
        """
        first, second = two_views("moco.v2", batch)
        pairs = [(first, second), (second, first)] if self.symmetric else [(first, second)]
        return [(self.backbone(queries), self.key_backbone(keys)) for queries, keys in pairs]

    def loss(self, embeddings: Sequence[tuple[Tensor, Tensor]], batch: Batch) -> LossOutput:
        """Return the loss of the local queries; its mean over ranks is that of the global batch.

        Args:
            embeddings: As `embed` returns them, of the whole local batch.
            batch: The batch they came from.

        Returns:
            The scalar loss, and in measured steps `contrastive_accuracy`, the fraction of queries that are more similar
            to their key than to any in the queue, and `momentum`.
        """
        losses, hits, made = [], [], []
        for query_features, key_features in embeddings:
            queries = directions(self.head(query_features))
            keys = directions(self.key_head(key_features))
            with full_precision(queries.device):
                positive = (queries * keys).sum(dim=1) / self.temperature
                negative = queries @ self.queue.keys.T / self.temperature
                losses.append((torch.logaddexp(positive, negative.logsumexp(dim=1)) - positive).mean())
            made.append(keys)
            if batch.progress.measured:
                hits.append((positive > negative.amax(dim=1)).float().mean())
        self._made = gather_rows(torch.stack(made, dim=1)).flatten(0, 1)
        loss = torch.stack(losses).sum()
        if not batch.progress.measured:
            return LossOutput(loss, {})
        return LossOutput(
            loss,
            {"contrastive_accuracy": torch.stack(hits).mean(), "momentum": loss.new_full((), self.momentum).detach()},
        )

    def forward(self, batch: Batch) -> LossOutput:
        """Return the loss of a batch in one go: `loss(embed(batch), batch)`."""
        return self.loss(self.embed(batch), batch)

    def after_step(self, progress: Progress) -> None:
        """Let the key network follow, and enqueue the keys of this step."""
        self.key_backbone.follow(self.backbone, self.momentum)
        self.key_head.follow(self.head, self.momentum)
        if self._made is not None:
            self.queue.enqueue(self._made, num_before=progress.step * len(self._made))
            self._made = None
