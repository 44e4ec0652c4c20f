"""MoCo v3: the prediction of each view must find the other view's key among those of the batch.

Enters: two views of a batch. Leaves: the symmetrised InfoNCE loss, and how many predictions found their key. Called by
the engine's step; the key network moves after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sslkit import (
    Batch,
    LossOutput,
    MLPHead,
    MomentumCopy,
    PluginError,
    Progress,
    full_precision,
    gather_rows,
    rank,
    rising_momentum,
    world_size,
)
from sslkit_moco.patch_embedding import freeze_patch_embedding as freeze
from sslkit_moco.two_views import directions, require_positive, require_share, two_views


class MoCoV3(nn.Module):
    """Momentum contrast without a queue: the other images of a large batch are negatives enough.

    Queries come from each view through backbone, head and a predictor, keys from each view through slow copies of
    backbone and head. All are unit vectors. With N images in the global batch the loss is
    `ctr(q1, k2) + ctr(q2, k1)`, where `ctr(q, k)` is `2 t` times the mean over n of
    `-log(exp(q_n.k_n / t) / sum over m of exp(q_n.k_m / t))`. No gradient reaches the keys. After each step the copies
    move, by a momentum that rises to 1 along half a cosine.

    The defaults are those for ViTs, to which belong `freeze_patch_embedding = true` and a head of 3 layers:
    `builtin.mlp` with `num_layers = 3`, `hidden_dim = 4096`, `out_dim = 256`, `last_norm = "plain"`. ResNets have a
    head of 2 layers, `temperature = 1.0` and `predictor_last_norm = "none"`, which brings a bias that theirs has not.

    Source: Chen, Xie and He 2021 (arXiv 2104.02057), section 3, algorithm 1; `builder.py`, `main_moco.py` and CONFIG.md
    of the authors' code.

    Args:
        backbone: The engine gives it; what is kept.
        head: The engine gives it; the authors' projector.
        momentum: m at the start. 0.996 for 1000 epochs. Source: CONFIG.md.
        final_momentum: m at the end; the same as `momentum` for a constant one. Source: `adjust_moco_momentum`.
        temperature: t; 0.2 for ViTs, 1.0 for ResNet-50. Source: CONFIG.md.
        predictor_hidden_dim: Width of the predictor's hidden layer. Source: `builder.py`.
        predictor_last_norm: What follows the predictor's last layer, as in `builtin.mlp`. Source: `builder.py`.
        freeze_patch_embedding: Draw a ViT's patch projection anew, and keep it as it is. See the function of that name.

    Attributes:
        predictor: Projections [N, P] to queries [N, P]; not kept.

    Raises:
        ValueError: If an option is out of range.
        PluginError: If the head does not say how wide its projections are.
        RunError: If there is no patch projection to freeze.
    """

    min_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        momentum: Annotated[float, Interval(ge=0, le=1)] = 0.99,
        final_momentum: Annotated[float, Interval(ge=0, le=1)] = 1.0,
        temperature: Annotated[float, Gt(0)] = 0.2,
        predictor_hidden_dim: Annotated[int, Ge(1)] = 4096,
        predictor_last_norm: Literal["none", "batch", "plain"] = "plain",
        freeze_patch_embedding: bool = False,
    ) -> None:
        super().__init__()
        for name, share in (("momentum", momentum), ("final_momentum", final_momentum)):
            require_share("moco.v3", name, share)
        require_positive("moco.v3", "temperature", temperature)
        dim = getattr(head, "out_dim", None)
        if not isinstance(dim, int):
            raise PluginError(f"moco.v3: the head {type(head).__name__} has no integer out_dim")
        if freeze_patch_embedding:
            freeze(backbone)
        self.backbone = backbone
        self.head = head
        self.predictor = MLPHead(
            dim, hidden_dim=predictor_hidden_dim, out_dim=dim, num_layers=2, last_norm=predictor_last_norm
        )
        self.key_backbone = MomentumCopy(backbone)
        self.key_head = MomentumCopy(head)
        self.momentum = momentum
        self.final_momentum = final_momentum
        self.temperature = temperature

    def embed(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Return features of each view, [B, D], by the network and by its copy; BatchNorm sees one view at a time.

        Raises:
            RunError: There are not two views.
        """
        return [(self.backbone(view), self.key_backbone(view)) for view in two_views("moco.v3", batch)]

    def loss(self, embeddings: Sequence[tuple[Tensor, Tensor]], batch: Batch) -> LossOutput:
        """Return the loss of the local queries among the keys of all ranks; its mean over ranks is the global one.

        Args:
            embeddings: As `embed` returns them, of the whole local batch.
            batch: The batch they came from.

        Returns:
            The scalar loss, and in measured steps `contrastive_accuracy`, the fraction of queries whose key is the most
            similar one, and `momentum`, by which the copies move after this step.
        """
        queries = [directions(self.predictor(self.head(features))) for features, _ in embeddings]
        own_keys = [directions(self.key_head(features)) for _, features in embeddings]
        keys = gather_rows(torch.stack(own_keys, dim=1)).unbind(dim=1)
        positive = torch.arange(len(queries[0]), device=queries[0].device) * world_size() + rank()
        losses, hits = [], []
        with full_precision(positive.device):
            for query, key in zip(queries, reversed(keys), strict=True):
                logits = query @ key.T / self.temperature
                losses.append(cross_entropy(logits, positive))
                if batch.progress.measured:
                    hits.append((logits.argmax(dim=1) == positive).float().mean())
            loss = 2 * self.temperature * torch.stack(losses).sum()
        if not batch.progress.measured:
            return LossOutput(loss, {})
        momentum = loss.new_full((), self.momentum_after(batch.progress)).detach()
        return LossOutput(loss, {"contrastive_accuracy": torch.stack(hits).mean(), "momentum": momentum})

    def forward(self, batch: Batch) -> LossOutput:
        """Return the loss of a batch in one go: `loss(embed(batch), batch)`."""
        return self.loss(self.embed(batch), batch)

    def momentum_after(self, progress: Progress) -> float:
        """Return the momentum by which the copies move after a step.

        The authors move them at the beginning of the next one, by the momentum of that: hence one step more.
        """
        done = (progress.step + 1) / progress.total_steps
        return rising_momentum(self.momentum, self.final_momentum, done)

    def after_step(self, progress: Progress) -> None:
        """Let the key network follow."""
        momentum = self.momentum_after(progress)
        self.key_backbone.follow(self.backbone, momentum)
        self.key_head.follow(self.head, momentum)
