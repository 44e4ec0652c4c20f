"""A backbone as a graph is made of it: on the CPU, alone, its normalisation inside; and how exports are verified.

Enters: pretrained weights. Leaves: a module of images in [0, 1], images to try it on, or an error that says what
differs. Called by the exporters.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from sslkit import Pretrained, SslkitError, one_line

# Two libraries add the same numbers in another order; what a wrong weight makes is far larger.
_TOLERANCE = 1e-5


class Portable(nn.Module):
    """A copy of the backbone that takes images [N, C, S, S] in [0, 1] and returns features h [N, D]."""

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__()
        backbone = copy.deepcopy(pretrained.backbone)
        # The engine's channels_last would be written into the graph, and other runtimes gain nothing from it.
        self.backbone = backbone.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        declared = pretrained.normalisation
        self._normalise = None if declared is None else declared.on(torch.device("cpu"))
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return features [N, D]."""
        features: Tensor = self.backbone(images if self._normalise is None else self._normalise(images))
        return features


def num_channels(pretrained: Pretrained) -> int:
    """Return the channels C of the images that a backbone takes: as declared, or those of its first convolution."""
    if pretrained.normalisation is not None:
        return len(pretrained.normalisation.mean)
    convolutions = (module for module in pretrained.backbone.modules() if isinstance(module, nn.Conv2d))
    first = next(convolutions, None)
    return 3 if first is None else first.in_channels


def example_images(pretrained: Pretrained, count: int) -> Tensor:
    """Return uniform random images [count, C, S, S] in [0, 1], always the same, on the CPU."""
    size = pretrained.input_size
    return torch.rand(count, num_channels(pretrained), size, size, generator=torch.Generator().manual_seed(count))


def require_equal(expected: Tensor, found: Tensor, place: Path) -> None:
    """Check that what was written gives the same features when it is read back.

    Args:
        expected: Features of the backbone itself.
        found: Features of what was read back.
        place: What was written.

    Raises:
        SslkitError: It does not.
    """
    expected, found = expected.detach().cpu(), found.detach().cpu()
    # `not <=` rather than `>`: a difference that is not a number is a difference.
    if expected.shape != found.shape or not float((expected - found).abs().max()) <= _TOLERANCE * (
        1.0 + float(expected.abs().max())
    ):
        raise SslkitError(
            f"the backbone read back from {one_line(place)} gives other features than the one written; do not use it, "
            "and report this with the recipe"
        )
