"""A network of which the first blocks stay as they are, and how fast its BatchNorm statistics follow.

Enters: a copy of a backbone that may be changed. Leaves: a backbone to fine-tune. Called by `fine_tune`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit import RunError, did_you_mean, one_line


class PartlyFrozen(nn.Module):
    """A backbone trained from a given block on; what it lists before that neither learns nor counts statistics.

    Source: the flag `fine_tune_after_block` of the code of SimCLR.

    Args:
        backbone: The module; its parameters are told whether to take gradients.
        from_block: Name of the first layer that is trained; None trains everything.

    Attributes:
        feature_dim: That of the backbone.

    Raises:
        RunError: There is no such layer.
    """

    def __init__(self, backbone: nn.Module, from_block: str | None) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(True)
        self.feature_dim: int = backbone.feature_dim  # type: ignore[assignment]
        self._frozen: list[nn.Module] = []
        if from_block is None:
            return
        require_block(backbone, from_block)
        for name, module in backbone.named_modules():
            if name == from_block:
                break
            is_around = name == "" or from_block.startswith(f"{name}.")
            if not is_around:
                self._frozen.append(module)
            for parameter in module.parameters(recurse=not is_around):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> PartlyFrozen:
        """Set the mode of what is trained; the frozen blocks stay in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that the backbone wants no weight decay on."""
        exempt: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in exempt}

    def forward(self, images: Tensor) -> Tensor:
        """Return features h, [N, D]."""
        features: Tensor = self.backbone(images)
        return features


def require_block(backbone: nn.Module, name: str) -> None:
    """Refuse a block that a backbone has not.

    Raises:
        RunError: There is no layer of this name.
    """
    layers = [layer for layer, _ in backbone.named_modules() if layer]
    if name not in layers:
        raise RunError(f'from_block = "{one_line(name)}": the backbone has no such layer{did_you_mean(name, layers)}')


def set_batch_norm_decay(network: nn.Module, steps_per_epoch: float) -> None:
    """Let running statistics keep max(1 - 10/s, 0.9) of themselves in a step, s the steps of an epoch.

    On a small set ten epochs are few steps, and statistics that follow more slowly would still be those of the former
    data. Source: SimCLR, appendix B.8.1.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1 - max(1 - 10 / steps_per_epoch, 0.9)  # torch counts what is new
