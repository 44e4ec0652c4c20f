"""SimSiam: the network predicts, from one view, what it makes of the other, and nothing flows back through that.

Enters: a backbone and a head; per step a batch of views. Leaves: the loss. Called by the engine once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from sslkit import Batch, LossOutput, MLPHead
from sslkit_byol.regression import agreement, spread


class SimSiam(nn.Module):
    """Simple Siamese learning: no negatives and no second network; a predictor and a stop-gradient prevent collapse.

    The loss of two views is `-cos(p1, z2) / 2 - cos(p2, z1) / 2`, the mean over images: z are projections, p
    predictions, and z is held constant in it. With more views it is the mean over all ordered pairs.

    Every view passes the network by itself, so that BatchNorm takes its statistics over one view of the global batch,
    as the authors' code has it.

    Source: Chen and He 2021 (SimSiam, arXiv 2011.10566), section 3, equations 1 to 4; github.com/facebookresearch/
    simsiam.

    Args:
        backbone: Images to features; the engine gives it. What is kept after pretraining.
        head: Features to projections; the engine gives it. The paper's is `builtin.mlp` with `hidden_dim = 2048`,
            `out_dim = 2048`, `num_layers = 3` and `last_norm = "plain"`, as in the authors' code.
        predictor_layers: Linear layers of the predictor, batch normalisation and ReLU between them; 0 leaves it out.
            Then the network collapses: section 4.2. Source: section 3.
        predictor_hidden_dim: Width of its hidden layers; unset, a quarter of the projection's: a bottleneck of 512 for
            2048. Source: section 3.
        constant_predictor_rate: Whether the predictor's learning rate stays what it is at first, while that of the rest
            follows the schedule. Source: section 4.2, table 1c: 68.1 %, else 67.7 %.
        stop_gradient: Whether z is held constant in the loss. Otherwise the network collapses: section 4.1, figure 2.

    Attributes:
        backbone: What is kept.
        head: The projection head.
        predictor: Projections to predictions, [N, P] both.
    """

    min_views = 2

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        predictor_layers: Annotated[int, Ge(0)] = 2,
        predictor_hidden_dim: Annotated[int, Ge(1)] | None = None,
        constant_predictor_rate: bool = True,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.predictor: nn.Module = nn.Identity()
        if predictor_layers:
            width: int = head.out_dim  # type: ignore[assignment]
            hidden_dim = predictor_hidden_dim or max(1, width // 4)
            self.predictor = MLPHead(width, hidden_dim=hidden_dim, out_dim=width, num_layers=predictor_layers)
        self.constant_predictor_rate = constant_predictor_rate
        self.stop_gradient = stop_gradient

    def constant_learning_rate(self) -> set[str]:
        """Return the names of the parameters whose learning rate no schedule changes: the predictor's."""
        names = {f"predictor.{name}" for name, _ in self.predictor.named_parameters()}
        return names if self.constant_predictor_rate else set()

    def embed(self, batch: Batch) -> list[Tensor]:
        """Return the features of every view, V tensors [B, D]."""
        return [self.backbone(view) for view in batch.views]

    def loss(self, embeddings: Sequence[Tensor], batch: Batch) -> LossOutput:
        """Return the loss of the rank's batch.

        Args:
            embeddings: What `embed` returns for the whole batch.
            batch: The batch they came from.

        Returns:
            The loss, which is the negative mean cosine; and, in steps that are measured, `spread`, the mean standard
            deviation of the normalised projections: of figure 2 of the paper.

        Raises:
            RunError: There are fewer than two views.
        """
        projections = [self.head(features) for features in embeddings]
        predictions = [self.predictor(z) for z in projections]
        targets = [z.detach() for z in projections] if self.stop_gradient else projections
        loss = -agreement("byol.simsiam", predictions, targets)
        return LossOutput(loss, {"spread": spread(projections)} if batch.progress.measured else {})

    def forward(self, batch: Batch) -> LossOutput:
        """Return the loss of a batch in one go: `loss(embed(batch), batch)`."""
        return self.loss(self.embed(batch), batch)

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        return f"stop_gradient={self.stop_gradient!r}"
