"""The projection head of SimCLR.

Enters: features h, [N, D]. Leaves: projections z, [N, P]. Called by the method between backbone and objective;
dropped after pretraining.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Interval
from torch import Tensor, nn

_INITIAL_STD = 0.01
"""Standard deviation of the initial weights. Source: the paper's code, `model_util.linear_layer`."""


class MLP(nn.Module):
    """A multi-layer perceptron, two layers in the paper: z = W2 ReLU(W1 h).

    As in the paper's code, linear layers have no bias, hidden layers have batch normalisation with scale and shift
    before the ReLU, and the last layer has batch normalisation with a scale but no shift.

    Source: SimCLR, section 2.1, equation z = W2 ReLU(W1 h), and figure 8 for its depth and width;
    batch normalisation: `model_util.projection_head` of the paper's code.

    Args:
        in_dim: Width D of the features; the engine gives it.
        hidden_dim: Width of the hidden layers; unset, that of the features, as in the paper.
        out_dim: Width P of the projection. With 0 layers z is h itself and has its width, whatever is set here.
        num_layers: Number of linear layers: 0 none (z = h), 1 linear, 2 the paper's, 3 that of SimCLRv2.
        batch_norm: Whether the layers have batch normalisation. False leaves the bare equation.

    Attributes:
        out_dim: Width of the projection.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        hidden_dim: Annotated[int, Ge(1)] | None = None,
        out_dim: Annotated[int, Ge(1)] = 128,
        num_layers: Annotated[int, Interval(ge=0, le=3)] = 2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= num_layers <= 3:
            raise ValueError(f"MLP: num_layers must be 0, 1, 2 or 3, not {num_layers}")
        width = in_dim if hidden_dim is None else hidden_dim
        layers: list[nn.Module] = []
        for _ in range(num_layers - 1):
            layers += _layer(in_dim, width, batch_norm, shift=True)
            layers.append(nn.ReLU(inplace=True))
            in_dim = width
        if num_layers:
            layers += _layer(in_dim, out_dim, batch_norm, shift=False)
            in_dim = out_dim
        self.layers = nn.Sequential(*layers)
        self.out_dim = in_dim

    def forward(self, features: Tensor) -> Tensor:
        """Return projections z, [N, P], of features h, [N, D]."""
        projections: Tensor = self.layers(features)
        return projections


def _layer(in_dim: int, out_dim: int, batch_norm: bool, *, shift: bool) -> list[nn.Module]:
    linear = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(linear.weight, std=_INITIAL_STD)
    if not batch_norm:
        return [linear]
    norm = nn.BatchNorm1d(out_dim)  # momentum 0.1 and eps 1e-5 are torch's defaults and the paper's values
    if not shift:
        norm.register_parameter("bias", None)
    return [linear, norm]
