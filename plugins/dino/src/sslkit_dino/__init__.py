"""DINO for sslkit: self-distillation and its head.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_dino.prototype_head import PrototypeHead
    from sslkit_dino.self_distillation import SelfDistillation

__version__ = "0.1.0"

__all__ = ["PrototypeHead", "SelfDistillation"]
__getattr__, __dir__ = load_on_use(
    __name__,
    {
        "PrototypeHead": "sslkit_dino.prototype_head",
        "SelfDistillation": "sslkit_dino.self_distillation",
    },
)
