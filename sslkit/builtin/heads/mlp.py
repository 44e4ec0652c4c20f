"""A multi-layer perceptron: the projection head, expander or predictor of most methods.

Enters: features h, [N, D]. Leaves: projections z, [N, P]. Called by the method between backbone and objective; dropped
after pretraining.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn


class MLPHead(nn.Module):
    """Linear layers with ReLU between them, and batch normalisation where it is asked for.

    A hidden layer is linear, normalised, ReLU; the last is linear and what `last_norm` says. Linear layers that are
    normalised have no bias: normalisation would take it away. Weights begin as torch's do.

    Methods differ in little else. Source of what they have: `last_norm = "none"`: BYOL (Grill et al. 2020, section
    3.3), Barlow Twins and VICReg (Zbontar et al. 2021, section 2.2; Bardes et al. 2022, section 4.2), SwAV's code;
    `"plain"`: SimSiam's code and MoCo v3's.

    Args:
        in_dim: Width D of the features; the engine gives it.
        hidden_dim: Width of the hidden layers; unset, that of the features.
        out_dim: Width P of the projection.
        num_layers: Number of linear layers; 1 has no hidden one.
        norm: Of the hidden layers: `batch` normalisation, or `none` and biases instead.
        last_norm: Of the last layer: `none` and a bias; `batch` normalisation; `plain`, without scale and shift.

    Attributes:
        out_dim: Width of the projection.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        hidden_dim: Annotated[int, Ge(1)] | None = None,
        out_dim: Annotated[int, Ge(1)] = 128,
        num_layers: Annotated[int, Ge(1)] = 2,
        norm: Literal["batch", "none"] = "batch",
        last_norm: Literal["none", "batch", "plain"] = "none",
    ) -> None:
        super().__init__()
        width = in_dim if hidden_dim is None else hidden_dim
        layers: list[nn.Module] = []
        for _ in range(num_layers - 1):
            layers.append(nn.Linear(in_dim, width, bias=norm == "none"))
            if norm == "batch":
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU(inplace=True))
            in_dim = width
        layers.append(nn.Linear(in_dim, out_dim, bias=last_norm == "none"))
        if last_norm != "none":
            layers.append(nn.BatchNorm1d(out_dim, affine=last_norm == "batch"))
        self.layers = nn.Sequential(*layers)
        self.out_dim = out_dim

    def forward(self, features: Tensor) -> Tensor:
        """Return projections z, [N, P], of features h, [N, D]."""
        projections: Tensor = self.layers(features)
        return projections
