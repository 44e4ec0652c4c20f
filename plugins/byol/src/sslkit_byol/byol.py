"""BYOL: the online network predicts, from one view, what a slow copy of it makes of the other.

Enters: a backbone and a head; per step a batch of views. Leaves: the loss; after the step the copy follows. Called by
the engine once a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from annotated_types import Ge, Interval
from torch import Tensor, nn

from sslkit import Batch, LossOutput, MLPHead, MomentumCopy, Progress, rising_momentum
from sslkit_byol.regression import agreement, spread


class BYOL(nn.Module):
    """Bootstrap your own latent: no negatives; a predictor and a target that follows slowly keep it from collapse.

    The loss of two views is `2 - 2 cos(q1, t2) + 2 - 2 cos(q2, t1)`, the mean over images: q are the predictions of the
    online network (backbone, head, predictor), t the projections of the target (copies of backbone and head), without
    gradient. With more views it is twice the mean of `2 - 2 cos` over all ordered pairs. After each step
    `target <- momentum * target + (1 - momentum) * online`, on parameters.

    Every view passes the networks by itself, so that BatchNorm takes its statistics over one view of the global batch,
    as the authors' code has it; the target's are statistics of its own features.

    Source: Grill et al. 2020 (BYOL, arXiv 2006.07733), section 3, equations 1 and 2; github.com/google-deepmind/
    deepmind-research, `byol/`. There the target begins with other random weights than the online network, and the
    authors see no difference; here it begins as a copy.

    Args:
        backbone: Images to features; the engine gives it. What is kept after pretraining.
        head: Features to projections; the engine gives it. The paper's is `builtin.mlp` with `hidden_dim = 4096`,
            `out_dim = 256`.
        momentum: The target's in the first step. Source: section 3.3, for 1000 epochs; the authors' code has 0.99 for
            300 epochs and 0.97 for 40.
        final_momentum: Towards which it goes, by half a cosine over all steps. Source: section 3.3. As large as
            `momentum`, the momentum is constant.
        predictor_layers: Linear layers of the predictor, batch normalisation and ReLU between them; 0 leaves it out.
            Then the network collapses: table 5b. Source: section 3.3.
        predictor_hidden_dim: Width of its hidden layers. Source: section 3.3.

    Attributes:
        backbone: The online network's.
        head: The online network's projection head.
        predictor: Projections to predictions, [N, P] both.
        target_backbone: Follows `backbone`.
        target_head: Follows `head`.

    Raises:
        ValueError: If a momentum is not between 0 and 1.
    """

    min_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        momentum: Annotated[float, Interval(ge=0, le=1)] = 0.996,
        final_momentum: Annotated[float, Interval(ge=0, le=1)] = 1.0,
        predictor_layers: Annotated[int, Ge(0)] = 2,
        predictor_hidden_dim: Annotated[int, Ge(1)] = 4096,
    ) -> None:
        super().__init__()
        for name, value in (("momentum", momentum), ("final_momentum", final_momentum)):
            if not 0 <= value <= 1:
                raise ValueError(f"BYOL: {name} must be between 0 and 1, not {value}")
        self.backbone = backbone
        self.head = head
        self.predictor: nn.Module = nn.Identity()
        if predictor_layers:
            width: int = head.out_dim  # type: ignore[assignment]
            self.predictor = MLPHead(width, hidden_dim=predictor_hidden_dim, out_dim=width, num_layers=predictor_layers)
        self.target_backbone = MomentumCopy(backbone)
        self.target_head = MomentumCopy(head)
        self.momentum = momentum
        self.final_momentum = final_momentum

    def embed(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Return the features of every view, V tensors [B, D]: of the `online` network, and of the `target`."""
        return {
            "online": [self.backbone(view) for view in batch.views],
            "target": [self.target_backbone(view) for view in batch.views],
        }

    def loss(self, embeddings: Mapping[str, Sequence[Tensor]], batch: Batch) -> LossOutput:
        """Return the loss of the rank's batch.

        Args:
            embeddings: What `embed` returns for the whole batch.
            batch: The batch they came from.

        Returns:
            The loss; `agreement`, the mean cosine in it; `target_momentum`, of this step; and, in steps that are
            measured, `spread`, the mean standard deviation of the online network's normalised projections.

        Raises:
            RunError: There are fewer than two views.
        """
        projections = [self.head(features) for features in embeddings["online"]]
        predictions = [self.predictor(z) for z in projections]
        targets = [self.target_head(features) for features in embeddings["target"]]
        cosine = agreement("byol.byol", predictions, targets)
        momentum = self.momentum_at(batch.progress)
        metrics = {"agreement": cosine.detach(), "target_momentum": cosine.new_full((), momentum)}
        if batch.progress.measured:
            metrics["spread"] = spread(projections)
        return LossOutput(4 * (1 - cosine), metrics)

    def forward(self, batch: Batch) -> LossOutput:
        """Return the loss of a batch in one go: `loss(embed(batch), batch)`."""
        return self.loss(self.embed(batch), batch)

    def after_step(self, progress: Progress) -> None:
        """Let the target follow the online network."""
        momentum = self.momentum_at(progress)
        self.target_backbone.follow(self.backbone, momentum)
        self.target_head.follow(self.head, momentum)

    def momentum_at(self, progress: Progress) -> float:
        """Return `momentum` at step 0, `final_momentum` after the last step, and half a cosine in between.

        Source: section 3.3: `1 - (1 - momentum) * (cos(pi * k / K) + 1) / 2` at step k of K.
        """
        return rising_momentum(self.momentum, self.final_momentum, progress.fraction)

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return f"momentum={self.momentum!r}, final_momentum={self.final_momentum!r}"
