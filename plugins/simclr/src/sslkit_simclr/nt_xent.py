"""NT-Xent, the contrastive objective of SimCLR, with its kin: SupCon, DCL, negatives from other views only.

Enters: the local projections z of V views, one tensor [B, P] a view, row b of each from image b. Leaves: the loss of
the global batch and two metrics. Called by the method, once a step; `contrast` does the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import torch
from annotated_types import Gt
from torch import Tensor, nn

from sslkit import LossOutput, Progress, rank
from sslkit_simclr.agreement import agreement
from sslkit_simclr.contrast import Contrast, Rules

Positives = Literal["views", "labels"]
Negatives = Literal["all", "other_views"]


class NTXent(nn.Module):
    """Normalised temperature-scaled cross-entropy: every projection must pick out the other views of its image.

    For anchor i with positive p, among all M = V * B projections of the global batch but i itself,
    `l(i, p) = -log(exp(sim(i, p) / temperature) / sum_k exp(sim(i, k) / temperature))`. The loss is the mean over
    the M anchors. The positives of an anchor (V - 1 views) are averaged outside the logarithm.

    Across ranks it is the loss of the global batch: `rank_local`, it takes each rank's own projections and gathers
    the others itself. Memory grows with M, not with its square: similarities are computed in blocks, and again in
    backward. Under `torch.compile` it runs outside the graph.

    Source: SimCLR, section 2.1, equation 1 and algorithm 1 (the paper's code minimises twice this value);
    V > 2 and labels: Khosla et al. 2020 (SupCon), equation 2 ("out").

    Args:
        temperature: Divides the similarities. The paper uses 0.1 on ImageNet (table 5) and 0.5 on CIFAR-10
            (appendix B.9).
        normalise: Compare directions only, sim = cosine. False compares plain dot products: the rows without
            l2 normalisation of the paper's table 5.
        positives: What an anchor must pick out: the other views of its image, or with "labels" all views of all images
            of its label. Label -1 has its own views only. Source: Khosla et al. 2020, equation 2.
        decoupled: Positives leave the sum over k; without any negative that sum is left out. Source: Yeh et al. 2022
            (DCL, arXiv 2110.06848), the loss L_DC without weights.
        negatives: The candidates k: all others, or those of other views only. Then positives, too, come from other
            views only. Source: SimCLR, table 4 and appendix B.10, for two views.

    Raises:
        ValueError: If an option is out of range.
    """

    min_views = 2
    rank_local = True

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 0.1,
        normalise: bool = True,
        positives: Positives = "views",
        decoupled: bool = False,
        negatives: Negatives = "all",
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"NTXent: temperature must be a finite number above 0, not {temperature}")
        for name, value, known in (("positives", positives, Positives), ("negatives", negatives, Negatives)):
            if value not in get_args(known):
                raise ValueError(f"NTXent: {name} must be one of {', '.join(get_args(known))}, not {value!r}")
        self.temperature = temperature
        self.normalise = normalise
        self.positives = positives
        self.needs_labels = positives == "labels"
        self.decoupled = decoupled
        self.negatives = negatives

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self, projections: Sequence[Tensor], labels: Tensor | None = None, progress: Progress | None = None
    ) -> LossOutput:
        """Return the loss of V views.

        Args:
            projections: V >= 2 tensors [B, P] of this rank. Computed in float32, also inside autocast; float64 stays.
            labels: int64 [B], -1 where there is none; used with `positives = "labels"`.
            progress: Where the pretraining stands; metrics are left out of steps that are not measured.

        Returns:
            The scalar loss of the global batch, equal on all ranks, and the detached scalars `contrastive_accuracy` (a
            fraction) and `contrastive_entropy` (nats). Both compare the local rows of view 1 with view 2 of the global
            batch only; their mean over ranks is that of the batch. Source: `model.py` of the paper's code.

        Raises:
            ValueError: If there are fewer than two views, or their shapes differ or are not [B, P] with B >= 1, or
                there is not one label for each image.
        """
        _check(projections)
        rules = Rules(self.temperature, self.normalise, self.negatives == "other_views", self.decoupled)
        grouping = _checked(labels, len(projections[0])) if self.positives == "labels" else None
        loss, rows = Contrast.apply(rules, grouping, *projections)
        return LossOutput(loss, _metrics(rows) if progress is None or progress.measured else {})

    def extra_repr(self) -> str:
        """Return the options, for printing."""
        names = ("temperature", "normalise", "positives", "decoupled", "negatives")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def _check(projections: Sequence[Tensor]) -> None:
    shapes = [tuple(view.shape) for view in projections]
    if len(shapes) < 2:
        raise ValueError(f"NTXent needs at least 2 views of each image, got {len(shapes)}: set num_views = 2")
    if len(shapes[0]) != 2 or shapes[0][0] < 1:
        raise ValueError(f"NTXent needs projections [B, P] with B >= 1, got shape {shapes[0]}")
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"NTXent needs projections of one shape for all views, got {shapes}")


def _checked(labels: Tensor | None, batch_size: int) -> Tensor:
    needs = f'NTXent with positives = "labels" needs one label for each of {batch_size} images'
    if labels is None:
        raise ValueError(f'{needs}, got none; positives = "views" needs none')
    if labels.ndim == 2:
        raise ValueError(f'{needs}, got {labels.shape[1]} classes to each; set positives = "views" for such data')
    if labels.shape != (batch_size,):
        raise ValueError(f"{needs}, got shape {tuple(labels.shape)}")
    return labels


def _metrics(rows: Tensor) -> dict[str, Tensor]:
    """Compare the local rows of view 1 with view 2, from the rows of all ranks, [W, V, B, P]."""
    batch_size = rows.shape[2]
    own = torch.arange(rank() * batch_size, (rank() + 1) * batch_size, device=rows.device)
    return agreement(rows[rank(), 0], rows[:, 1].flatten(0, 1), own)
