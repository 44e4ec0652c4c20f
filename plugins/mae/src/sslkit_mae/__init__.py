"""Masked autoencoders for sslkit: the method and its vision transformer.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_mae.masked_autoencoder import MaskedAutoencoder
    from sslkit_mae.vit import ViT

__version__ = "0.1.0"

_HOME_OF = {"MaskedAutoencoder": "sslkit_mae.masked_autoencoder", "ViT": "sslkit_mae.vit"}

__all__ = ["MaskedAutoencoder", "ViT"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_mae' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
