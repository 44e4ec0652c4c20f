"""Masked autoencoding: look at a quarter of an image's patches and draw the others.

Enters: views of a batch. Leaves: the squared error of the hidden patches. Called by the engine once a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from sslkit import Batch, Loss
from sslkit_mae.vit import TOKEN_STD, ViT, blocks, grid_positions, initialise_linear, rows_at


class MaskedAutoencoder(nn.Module):
    """A vision transformer that sees some patches, and a small one that draws what it did not see.

    The encoder is given the visible patches only, which is what makes it cheap. The decoder is given its tokens and, in
    the place of each hidden patch, one learned token, all with their positions, and tells the pixels of every patch;
    the loss is the mean squared error over the hidden ones. It is thrown away afterwards. Which patches are hidden is
    drawn for every view by itself, from (seed, step, image). With several views, each is an image.

    There is neither head nor objective: `pretrain.head` and `pretrain.objective` are left out of the recipe.

    Source: He et al. 2022 (MAE, arXiv:2111.06377), section 3; targets: "Reconstruction target" there, with the
    epsilon of the authors' code.

    Args:
        backbone: `mae.vit`; the engine gives it.
        mask_ratio: Share of the patches that is hidden. Figure 5 of the paper: 0.75.
        decoder_dim: Width of the decoder's tokens. Table 1b: 512.
        decoder_depth: Its blocks. Table 1a: 8.
        decoder_heads: Attention heads of each. The authors' code: 16.
        normalise_targets: Tell the pixels of a patch relative to its own mean and deviation. Table 1d: better.

    Attributes:
        backbone: What is kept.

    Raises:
        TypeError: Another backbone, which cannot leave patches out.
        ValueError: Sizes do not divide, or no patch is hidden or seen.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mask_ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.75,
        decoder_dim: Annotated[int, Ge(4)] = 512,
        decoder_depth: Annotated[int, Ge(1)] = 8,
        decoder_heads: Annotated[int, Gt(0)] = 16,
        normalise_targets: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, ViT):
            raise TypeError(f'a masked autoencoder needs the backbone "mae.vit", not {type(backbone).__name__}')
        if decoder_dim % decoder_heads or decoder_dim % 4:
            raise ValueError(
                f"decoder_dim = {decoder_dim} must be a multiple of decoder_heads = {decoder_heads} and of 4"
            )
        num_patches = len(backbone.positions)
        self._num_seen = int(num_patches * (1 - mask_ratio))  # the authors' rounding
        if not 0 < self._num_seen < num_patches:
            raise ValueError(f"mask_ratio = {mask_ratio} shows {self._num_seen} of {num_patches} patches")
        self.backbone = backbone
        self._normalise_targets = normalise_targets
        self.decoder = _Decoder(backbone, decoder_dim, decoder_depth, decoder_heads)

    def embed(self, batch: Batch) -> list[Tensor]:
        """Return the error of every view of every image, V tensors float32 [B]."""
        num_patches, num_views = len(self.backbone.positions), len(batch.views)
        drawn = batch.uniforms(num_views * num_patches).view(-1, num_views, num_patches)
        return [self._error(view, drawn[:, number].argsort(dim=1)) for number, view in enumerate(batch.views)]

    def loss(self, embeddings: Sequence[Tensor], batch: Batch) -> Loss:
        """Return the mean over all views and images."""
        return torch.stack(list(embeddings)).mean()

    def _error(self, images: Tensor, order: Tensor) -> Tensor:
        seen, hidden = order[:, : self._num_seen], order[:, self._num_seen :]
        told = self.decoder(self.backbone.tokens(images, seen), seen, hidden)
        difference: Tensor = told.float() - self.targets(images, hidden)
        return difference.square().mean(dim=(1, 2))

    def targets(self, images: Tensor, places: Tensor) -> Tensor:
        """Return what the decoder should tell of some patches, float32 [N, K, p * p * C].

        Args:
            images: [N, C, S, S].
            places: int64 [N, K].
        """
        pixels = rows_at(patches_of(images.float(), self.backbone.patch_size), places)
        if not self._normalise_targets:
            return pixels
        variance, mean = torch.var_mean(pixels, dim=-1, keepdim=True)
        return (pixels - mean) / (variance + 1e-6).sqrt()


class _Decoder(nn.Module):
    positions: Tensor

    def __init__(self, encoder: ViT, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        side = round(len(encoder.positions) ** 0.5)
        self.embed = nn.Linear(encoder.feature_dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.register_buffer("positions", grid_positions(side, dim), persistent=False)
        self.blocks = blocks(dim, depth, num_heads)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pixels = nn.Linear(dim, encoder.patch_embed.proj.weight[0].numel())
        nn.init.normal_(self.mask_token, std=TOKEN_STD)
        for layer in (self.embed, self.pixels):
            initialise_linear(layer)

    def forward(self, tokens: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Return the pixels of the hidden patches, [N, K, p * p * C], from the encoder's tokens of the seen ones."""
        tokens = self.embed(tokens)
        positions = self.positions.to(tokens.dtype)
        unknown = self.mask_token.to(tokens.dtype) + positions[hidden]
        known = tokens[:, 1:] + positions[seen]
        # Attention does not know of order: tokens need not lie where their patches do.
        decoded = self.norm(self.blocks(torch.cat([tokens[:, :1], known, unknown], dim=1)))
        told: Tensor = self.pixels(decoded[:, -hidden.shape[1] :])
        return told


def patches_of(images: Tensor, size: int) -> Tensor:
    """Return the pixels of each patch, row by row: [N, L, p * p * C], of images [N, C, S, S]."""
    tiles = images.unfold(2, size, size).unfold(3, size, size)  # [N, C, rows, columns, p, p]
    return tiles.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
