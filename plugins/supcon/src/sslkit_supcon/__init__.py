"""Kin of NT-Xent for sslkit: supervised contrastive learning, and decoupled contrastive learning.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_supcon.dcl import DCL
    from sslkit_supcon.sup_con import SupCon

__version__ = "0.1.0"

_HOME_OF = {"DCL": "sslkit_supcon.dcl", "SupCon": "sslkit_supcon.sup_con"}

__all__ = ["DCL", "SupCon"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_supcon' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
