"""DINO for sslkit: self-distillation and its head.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_dino.prototype_head import PrototypeHead
    from sslkit_dino.self_distillation import SelfDistillation

__version__ = "0.1.0"

_HOME_OF = {
    "PrototypeHead": "sslkit_dino.prototype_head",
    "SelfDistillation": "sslkit_dino.self_distillation",
}

__all__ = ["PrototypeHead", "SelfDistillation"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_dino' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
