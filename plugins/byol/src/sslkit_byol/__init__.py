"""BYOL and SimSiam for sslkit: two methods in which one view predicts the other, without negatives.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_byol.byol import BYOL
    from sslkit_byol.simsiam import SimSiam

__version__ = "0.1.0"

_HOME_OF = {"BYOL": "sslkit_byol.byol", "SimSiam": "sslkit_byol.simsiam"}

__all__ = ["BYOL", "SimSiam"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_byol' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
