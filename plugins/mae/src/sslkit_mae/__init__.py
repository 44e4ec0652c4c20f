"""Masked autoencoders for sslkit: the method and its vision transformer.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_mae.masked_autoencoder import MaskedAutoencoder
    from sslkit_mae.vit import ViT

__version__ = "0.1.0"

__all__ = ["MaskedAutoencoder", "ViT"]
__getattr__, __dir__ = load_on_use(
    __name__, {"MaskedAutoencoder": "sslkit_mae.masked_autoencoder", "ViT": "sslkit_mae.vit"}
)
