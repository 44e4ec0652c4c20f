"""A patch embedding that is drawn once and never learns: what keeps a ViT's contrastive training stable.

Enters: a ViT. Leaves: the same, its patch projection random and frozen. Called by `v3`.
"""

from __future__ import annotations

import torch
from torch import nn

from sslkit import RunError


@torch.no_grad()
def freeze_patch_embedding(backbone: nn.Module) -> None:
    """Draw a ViT's projection of patches anew, and let it be no parameter that learns.

    Weights are uniform by Xavier's rule, as of the linear map that the convolution is; the bias is 0.

    Source: Chen, Xie and He 2021 (arXiv 2104.02057), section 4.2; `vits.py` of the authors' code.

    Args:
        backbone: With a convolution `patch_embed.proj`, as timm's ViTs have it.

    Raises:
        RunError: It has none.
    """
    projection = getattr(getattr(backbone, "patch_embed", None), "proj", None)
    if not isinstance(projection, nn.Conv2d):
        raise RunError(
            f"freeze_patch_embedding: {type(backbone).__name__} has no convolution patch_embed.proj; "
            "leave the option out, or choose a ViT of timm"
        )
    nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
    if projection.bias is not None:
        nn.init.zeros_(projection.bias)
    projection.requires_grad_(False)
