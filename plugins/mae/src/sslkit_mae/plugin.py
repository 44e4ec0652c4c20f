"""What this plugin offers. Called by sslkit's discovery through the entry point `mae`; imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import hookimpl

if TYPE_CHECKING:
    from sslkit import Register

SSLKIT_API = 1


@hookimpl
def sslkit_register(register: Register) -> None:
    """Register the components of masked autoencoding under the names `mae.<file>`."""
    register.backbone(
        "vit",
        "sslkit_mae.vit:ViT",
        summary="Vision transformer with fixed positions, which can look at some patches of an image only.",
    )
    register.method(
        "masked_autoencoder",
        "sslkit_mae.masked_autoencoder:MaskedAutoencoder",
        summary="Draw the three quarters of an image's patches that the backbone has not seen.",
    )
