"""A backbone with the first layers of its projection head: what SimCLRv2 trains on where labels are few.

Enters: a backbone and a head that may be changed. Leaves: both as one backbone. Called by `fine_tune`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UpToHeadLayer(nn.Module):
    """A backbone whose features are the output of a layer of its head.

    The head runs as a whole, so that any head will do; what it lists behind the layer takes no gradient.

    Source: Chen et al. 2020 (SimCLRv2, arXiv 2006.10029), section 2: fine-tuning from a middle layer of the head.

    Args:
        backbone: Images to features h, [N, D].
        head: Features h to projections.
        layer: Name of a layer of the head that returns [N, P].

    Attributes:
        feature_dim: Width of the layer's output.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, layer: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head.requires_grad_(True)
        self._layer = layer
        names = [name for name, _ in head.named_modules()]
        for name in names[names.index(layer) + 1 :]:
            if not name.startswith(f"{layer}."):
                head.get_submodule(name).requires_grad_(False)
        device = next(backbone.parameters()).device
        with torch.no_grad():
            head.eval()  # nothing is to be counted in BatchNorm statistics
            self.feature_dim = self._up_to_layer(torch.zeros(1, backbone.feature_dim, device=device)).shape[1]  # type: ignore[call-overload]

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that the backbone wants no weight decay on."""
        exempt: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in exempt}

    def forward(self, images: Tensor) -> Tensor:
        """Return the layer's output, [N, P]."""
        return self._up_to_layer(self.backbone(images))

    def _up_to_layer(self, features: Tensor) -> Tensor:
        found: list[Tensor] = []
        # A copy: the layer after this one may well write over its input.
        handle = self.head.get_submodule(self._layer).register_forward_hook(
            lambda module, inputs, output: found.append(output.clone())
        )
        try:
            self.head(features)
        finally:
            handle.remove()
        return found[0]
