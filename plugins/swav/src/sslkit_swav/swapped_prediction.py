"""SwAV's objective: every view predicts the cluster that another view of its image was assigned to.

Enters: the projections z of V views of the global batch, one tensor [B, P] a view, global crops first. Leaves: the loss
and how many clusters are in use. Called by the method, once a step; its prototypes train with the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import normalize

from sslkit import LossOutput, Progress, full_precision


class SwappedPrediction(nn.Module):
    """Online clustering: predict the code of one view from another view of the same image.

    K prototypes c, unit vectors, score the normalised projections z. A global crop's code q is a soft assignment of the
    batch to the prototypes in equal shares (`equal_shares`), without gradient. Every other view, global or local,
    predicts it: `p = softmax(z . c / temperature)`. The loss is the mean over global crops g, views v != g and images
    of the cross-entropy `-sum_k q_g[k] log p_v[k]`.

    Equal shares keep the images apart: without them one prototype for all is a perfect solution. A batch smaller than K
    cannot share prototypes out well, so the last projections of the global crops, kept in a queue, may take part in the
    assignment. They get no gradient.

    Given the rows of the global batch, so that prototypes, codes and queue are the same on all ranks. Prototypes begin
    normalised and are normalised again after every step.

    Source: Caron et al. 2020 (SwAV, arXiv 2006.09882), equations 1 to 6; order of steps, frozen prototypes and queue:
    `main_swav.py` of the authors' code. Their queue begins to fill when it is due; this one fills from the first step.

    Args:
        dim: Width P of the projections; the engine gives it.
        prototypes: Their number K; 3000 for the 1000 classes of ImageNet in the paper, which finds that it matters
            little as long as it is several times the classes.
        temperature: Divides the scores of predictions; tau in equation 2.
        epsilon: Divides the scores of codes: the lower, the harder they are. Source: section 3.1 and `main_swav.py`.
        sinkhorn_iterations: Of the assignment; 0 takes equal shares away, and everything ends in one cluster.
        num_global_views: Views that get codes, the first ones.
        queue_length: Projections of each global view that are kept; 0 has no queue. The authors' scripts for batches
            of 256 keep 3840.
        queue_from_epoch: First epoch, from 0, in which the queue takes part.
        frozen_epochs: Epochs, from the first, in which prototypes do not move.

    Attributes:
        prototypes: float32 [K, P], rows of length 1.
        queue: float32 [num_global_views, queue_length, P], the newest projections first.
    """

    queue: Tensor

    def __init__(
        self,
        dim: int,
        *,
        prototypes: Annotated[int, Ge(2)] = 3000,
        temperature: Annotated[float, Gt(0)] = 0.1,
        epsilon: Annotated[float, Gt(0)] = 0.05,
        sinkhorn_iterations: Annotated[int, Ge(0)] = 3,
        num_global_views: Annotated[int, Ge(1)] = 2,
        queue_length: Annotated[int, Ge(0)] = 0,
        queue_from_epoch: Annotated[int, Ge(0)] = 15,
        frozen_epochs: Annotated[int, Ge(0)] = 1,
    ) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("epsilon", epsilon)):
            if not 0 < value < math.inf:
                raise ValueError(f"SwappedPrediction: {name} must be a finite number above 0, not {value}")
        self.temperature = temperature
        self.epsilon = epsilon
        self.sinkhorn_iterations = sinkhorn_iterations
        self.num_global_views = num_global_views
        self.queue_from_epoch = queue_from_epoch
        self.frozen_epochs = frozen_epochs
        self.min_views = max(2, num_global_views)
        # The initialisation of a linear layer without bias, as the authors', but for the length.
        self.prototypes = nn.Parameter(normalize(nn.Linear(dim, prototypes, bias=False).weight.detach(), dim=1))
        self.register_buffer("queue", torch.zeros(num_global_views, queue_length, dim))
        self._latest: Tensor | None = None

    def forward(self, projections: Sequence[Tensor], progress: Progress | None = None) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [B, P] of the global batch, global crops first. Computed in float32, also inside
                autocast; float64 stays.
            progress: Where the pretraining stands; without it there is no queue.

        Returns:
            The scalar loss, and in steps that are measured, both of predictions of the global crops: `clusters_used`,
            the exponential of the entropy of their mean, at most K; `assignment_entropy`, the mean of their entropies,
            nats.

        Raises:
            ValueError: If there are too few views, or their shapes differ or are not [B, P].
        """
        _check(projections, self.min_views)
        with full_precision(projections[0].device):
            z = normalize(
                torch.stack([view if view.dtype == torch.float64 else view.float() for view in projections]), dim=2
            )
            scores = z @ self.prototypes.T.to(z.dtype)  # [V, B, K]
            codes = [self._codes(view, scores[view].detach(), progress) for view in range(self.num_global_views)]
            log_predictions = (scores / self.temperature).log_softmax(dim=2)
            losses = [
                -(code * log_predictions[view]).sum(dim=1).mean()
                for number, code in enumerate(codes)
                for view in range(len(projections))
                if view != number
            ]
            self._latest = z[: self.num_global_views].detach()
            measured = progress is None or progress.measured
            metrics = _metrics(log_predictions[: self.num_global_views].detach()) if measured else {}
        return LossOutput(torch.stack(losses).mean(), metrics)

    def after_backward(self, progress: Progress) -> None:
        """Take the prototypes' gradient away while they are frozen."""
        if progress.epoch < self.frozen_epochs:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        """Normalise the prototypes and put the step's projections into the queue."""
        self.prototypes.copy_(normalize(self.prototypes, dim=1))
        if self._latest is not None:
            length = self.queue.shape[1]
            self.queue.copy_(torch.cat([self._latest.to(self.queue), self.queue], dim=1)[:, :length])
            self._latest = None

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        names = (
            "temperature",
            "epsilon",
            "sinkhorn_iterations",
            "num_global_views",
            "queue_from_epoch",
            "frozen_epochs",
        )
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"prototypes={len(self.prototypes)}, queue_length={self.queue.shape[1]}, {options}"

    @torch.no_grad()
    def _codes(self, view: int, scores: Tensor, progress: Progress | None) -> Tensor:
        """Return the codes [B, K] of a global view from its scores [B, K]."""
        batch_size, length = len(scores), self.queue.shape[1]
        # A function of the progress: to ask the queue itself would be to wait for the device.
        filled = progress is not None and progress.step * batch_size >= length > 0
        if filled and progress is not None and progress.epoch >= self.queue_from_epoch:
            queue = self.queue[view].to(scores.dtype)
            scores = torch.cat([scores, queue @ self.prototypes.T.to(scores.dtype)])
        return equal_shares(scores, self.epsilon, self.sinkhorn_iterations)[:batch_size]


def equal_shares(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return soft assignments of images to prototypes, every prototype with about the same share of the images.

    Sinkhorn and Knopp's algorithm, from `exp(scores / epsilon)`: in turn, columns are scaled to equal sums and rows to
    1. In logarithms, so that no epsilon is too small.

    Source: SwAV, equations 3 to 5 and section 3.1, after Cuturi 2013 (arXiv 1306.0895).

    Args:
        scores: [N, K], of images and prototypes.
        epsilon: The lower, the harder the assignments.
        iterations: Times that both are scaled; with 0 rows alone are.

    Returns:
        [N, K], rows of sum 1.
    """
    logarithms = scores / epsilon
    for _ in range(iterations):
        logarithms = logarithms.log_softmax(dim=0).log_softmax(dim=1)
    return logarithms.softmax(dim=1)


def _metrics(log_predictions: Tensor) -> dict[str, Tensor]:
    rows = log_predictions.flatten(0, 1)
    probabilities = rows.exp()
    share = probabilities.mean(dim=0)
    return {
        "clusters_used": torch.special.entr(share).sum().exp(),
        "assignment_entropy": -(probabilities * rows).sum(dim=1).mean(),
    }


def _check(projections: Sequence[Tensor], least: int) -> None:
    shapes = [tuple(view.shape) for view in projections]
    if len(shapes) < least:
        raise ValueError(f"SwappedPrediction needs at least {least} views of each image, got {len(shapes)}")
    if any(shape != shapes[0] for shape in shapes) or len(shapes[0]) != 2:
        raise ValueError(f"SwappedPrediction needs projections [B, P], of one shape for all views, got {shapes}")
