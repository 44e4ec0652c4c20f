"""A vision transformer that can look at some of an image's patches only.

Enters: images, and which patches to look at. Leaves: tokens, or one feature for each image. Called by the masked
autoencoder in pretraining, and by the engine wherever the backbone is used afterwards.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

TOKEN_STD = 0.02
"""Standard deviation of the initial class and mask tokens. Source: the code of MAE, `initialize_weights`."""


class ViT(nn.Module):
    """A vision transformer with fixed sine and cosine positions and a class token.

    Nothing in it depends on how many patches it is given. The defaults are ViT-Base's.

    Source: Dosovitskiy et al. 2021 (ViT, arXiv:2010.11929), section 3.1; He et al. 2022 (MAE, arXiv:2111.06377),
    appendix A.1: positions, initialisation of linear layers (uniform after Glorot), class token.

    Args:
        image_size: Side S of the images, pixels: that of the views.
        patch_size: Side p of a patch, pixels; divides `image_size`.
        dim: Width D of tokens and feature; a multiple of 4 and of `num_heads`.
        depth: Transformer blocks.
        num_heads: Attention heads of each.
        pool: What the feature is: the `mean` of the patches' tokens or the `class` token. MAE's code measures linear
            probes on the class token and fine-tunes on the mean.
        in_channels: Channels C of an image.

    Attributes:
        feature_dim: D.
        patch_size: p.
        positions: float32 [L, D], L = (S / p)**2, the place of each patch.

    Raises:
        ValueError: Sizes do not divide.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        image_size: Annotated[int, Gt(0)] = 224,
        patch_size: Annotated[int, Gt(0)] = 16,
        dim: Annotated[int, Ge(4)] = 768,
        depth: Annotated[int, Ge(1)] = 12,
        num_heads: Annotated[int, Ge(1)] = 12,
        pool: Literal["mean", "class"] = "mean",
        in_channels: Annotated[int, Ge(1)] = 3,
    ) -> None:
        super().__init__()
        for name, whole, part in (
            ("image_size", image_size, patch_size),
            ("dim", dim, num_heads),
            ("dim", dim, 4),
        ):
            if whole % part:
                raise ValueError(f"ViT: {name} = {whole} must be a multiple of {part}")
        self.feature_dim = dim
        self.patch_size = patch_size
        self._pool = pool
        self.patch_embed = PatchEmbed(image_size, patch_size, in_channels, dim)
        self.class_token = nn.Parameter(torch.empty(dim))
        self.register_buffer("positions", grid_positions(image_size // patch_size, dim), persistent=False)
        self.blocks = blocks(dim, depth, num_heads)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.normal_(self.class_token, std=TOKEN_STD)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(dim, -1))

    def forward(self, images: Tensor) -> Tensor:
        """Return features h, [N, D], of images [N, C, S, S]."""
        tokens = self.tokens(images)
        return tokens[:, 1:].mean(dim=1) if self._pool == "mean" else tokens[:, 0]

    def tokens(self, images: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return the normalised tokens of the last block, the class token first.

        Args:
            images: [N, C, S, S].
            seen: int64 [N, K], which patches to look at, counted row by row; None looks at all.

        Returns:
            [N, 1 + K, D].
        """
        patches = self.patch_embed(images) + self.positions
        if seen is not None:
            patches = rows_at(patches, seen)
        first = self.class_token.expand(len(images), 1, -1)
        tokens: Tensor = self.norm(self.blocks(torch.cat([first, patches], dim=1)))
        return tokens


def blocks(dim: int, depth: int, num_heads: int) -> nn.Sequential:
    """Return transformer blocks, of four times the width inside, linear layers initialised as MAE's."""
    made = nn.Sequential(*(Block(dim, num_heads, qkv_bias=True) for _ in range(depth)))
    made.apply(initialise_linear)
    return made


def initialise_linear(module: nn.Module) -> None:
    """Draw the weights of a linear layer uniformly after Glorot, with biases 0. Source: the code of MAE."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def grid_positions(side: int, dim: int) -> Tensor:
    """Return sines and cosines of the rows and columns of a square grid, float32 [side**2, dim]."""
    positions: Tensor = build_sincos2d_pos_embed([side, side], dim)
    return positions


def rows_at(tokens: Tensor, places: Tensor) -> Tensor:
    """Return tokens [N, K, D] of [N, L, D] at places int64 [N, K]."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))
