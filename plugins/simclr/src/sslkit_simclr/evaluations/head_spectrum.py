"""How many directions a linear projection head keeps: the eigenvalues of its matrix, figure B.3 of the paper.

Enters: a head of one linear layer. Leaves: its effective rank, and the squared real eigenvalues, which the run's report
draws. Called by the engine for each `[[evaluate]]` table that names it. No image is read.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sslkit import Data, Evaluation, Outcome, Pretrained, RunError, Work, one_line

_MOST: Final = 0.9  # of the sum: what "few eigenvalues are large" is measured by


def head_spectrum() -> Evaluation:
    """Return the evaluation: the squared real eigenvalues of W, for a head z = W h of equal width in and out.

    `effective_rank` (headline) is the exponential of the entropy of W's singular values as shares of their sum: 1 where
    a single direction is kept, D where all are kept alike, and 0.8 D of random weights. `eigenvalues_90` is how many of
    the largest squared eigenvalues make 90 % of their sum (of random weights about D / 2), `share_10_percent` the share
    of the sum that the largest tenth of them makes, and `dimensions` D. The eigenvalues themselves, largest first, are
    stored as `squared_eigenvalues`, the singular values as `singular_values`.

    A real matrix has complex eigenvalues too; what is squared is the real part of each, so that there are D, as in the
    figure. The batch normalisation behind W has no part in it: it only scales and shifts what W has kept.

    `features = ["z"]`. The head is that of `simclr.mlp` with `num_layers = 1` and `out_dim` the width of the features.

    Source: SimCLR, appendix B.4, figure B.3; effective rank: Roy and Vetterli 2007, "The effective rank".

    Raises:
        RunError: (before the run) If something else than z is to be measured, or the head is not one square linear
            layer.
    """

    def check(backbone: nn.Module, measure: str, data: Data, head: nn.Module | None) -> None:
        if measure != "z":
            raise RunError(f'looks at the head, not at "{one_line(measure)}"; set features = ["z"]')
        _matrix(head)

    def evaluate(pretrained: Pretrained, data: Data) -> Outcome:
        check(pretrained.backbone, pretrained.measure, data, pretrained.head)
        matrix = _matrix(pretrained.head)
        squared = np.sort(np.linalg.eigvals(matrix).real ** 2)[::-1]
        singular = np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
        shares = squared / (squared.sum() or 1.0)
        metrics = {
            "effective_rank": effective_rank(singular),
            "eigenvalues_90": float(min(int(np.searchsorted(np.cumsum(shares), _MOST)) + 1, len(shares))),
            "share_10_percent": float(shares[: max(1, round(len(shares) / 10))].sum()),
            "dimensions": float(len(matrix)),
        }
        return Outcome("effective_rank", metrics, {"squared_eigenvalues": squared, "singular_values": singular})

    evaluate.check = check  # type: ignore[attr-defined]
    evaluate.work = lambda sizes: Work()  # type: ignore[attr-defined]
    return evaluate


def effective_rank(singular_values: npt.NDArray[np.float64]) -> float:
    """Return the exponential of the entropy of singular values as shares of their sum; 0 where all are 0."""
    total = singular_values.sum()
    if total == 0:
        return 0.0
    shares = singular_values[singular_values > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _matrix(head: nn.Module | None) -> npt.NDArray[np.float64]:
    """Return W, [D, D].

    Raises:
        RunError: The head has another form.
    """
    layers = [] if head is None else [module for module in head.modules() if isinstance(module, nn.Linear)]
    shapes = [f"{layer.in_features} to {layer.out_features}" for layer in layers]
    if len(layers) != 1 or layers[0].in_features != layers[0].out_features:
        raise RunError(
            "needs a head of one linear layer as wide as the features, and this one has "
            f"{', '.join(shapes) or 'none'}; pretrain with num_layers = 1 and out_dim = the width of the features"
        )
    return layers[0].weight.detach().to("cpu", torch.float64).numpy()
