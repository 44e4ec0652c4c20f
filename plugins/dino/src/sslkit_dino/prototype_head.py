"""DINO's head: a perceptron, a bottleneck on the unit sphere, and similarities with prototypes.

Enters: features h, [N, D]. Leaves: logits, [N, P], of a distribution over P prototypes. Called by the method, once as
the student's and once as the teacher's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from sslkit import full_precision

_INITIAL_STD = 0.02
"""Standard deviation of the perceptron's initial weights. Source: the code of DINO, `DINOHead`."""


class PrototypeHead(nn.Module):
    """Linear layers with GELU between them, l2 normalisation, and a last linear layer whose rows have length 1.

    Source: Caron et al. 2021 (DINO, arXiv:2104.14294), section 3.1 and appendix C; rows of fixed length: the code's
    `norm_last_layer`, which it advises for stable training.

    Args:
        in_dim: Width D of the features; the engine gives it.
        hidden_dim: Width of the hidden layers. Appendix C: 2048.
        bottleneck_dim: Width before the prototypes. Appendix C: 256.
        out_dim: Prototypes, P. Appendix C, "Output dimension": 65536.
        num_layers: Linear layers before the prototypes. Appendix C: 3.
        norm: Of the hidden layers: `none` with a ViT, `batch` normalisation with a convolutional network.
        unit_prototypes: Keep the prototypes at length 1; otherwise their lengths train.

    Attributes:
        out_dim: P.
        prototypes: [P, bottleneck_dim], a direction for each.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        hidden_dim: Annotated[int, Ge(1)] = 2048,
        bottleneck_dim: Annotated[int, Ge(1)] = 256,
        out_dim: Annotated[int, Ge(1)] = 65536,
        num_layers: Annotated[int, Ge(1)] = 3,
        norm: Literal["none", "batch"] = "none",
        unit_prototypes: bool = True,
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        widths = [in_dim, *[hidden_dim] * (num_layers - 1), bottleneck_dim]
        layers: list[nn.Module] = []
        for number, (given, made) in enumerate(pairwise(widths), 1):
            layers.append(nn.Linear(given, made))
            if number < num_layers:
                layers += [nn.BatchNorm1d(made), nn.GELU()] if norm == "batch" else [nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.prototypes = nn.Parameter(torch.empty(out_dim, bottleneck_dim))
        self.lengths = None if unit_prototypes else nn.Parameter(torch.ones(out_dim))
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=_INITIAL_STD)
                nn.init.zeros_(layer.bias)
        nn.init.kaiming_uniform_(self.prototypes, a=5**0.5)  # that of nn.Linear, which the code leaves them with

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, [N, P], of features h, [N, D]: cosines with the prototypes, times their lengths."""
        # On the sphere small differences count, and half precision has none to spare.
        bottleneck = normalize(self.layers(features).float(), dim=-1)
        with full_precision(features.device):
            logits = linear(bottleneck, normalize(self.prototypes, dim=-1))
        return logits if self.lengths is None else logits * self.lengths
