"""VICReg and Barlow Twins for sslkit: two objectives that need neither negatives nor a second network.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_vicreg.barlow_twins import BarlowTwins
    from sslkit_vicreg.vicreg import VICReg

__version__ = "0.1.0"

_HOME_OF = {"BarlowTwins": "sslkit_vicreg.barlow_twins", "VICReg": "sslkit_vicreg.vicreg"}

__all__ = ["BarlowTwins", "VICReg"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'sslkit_vicreg' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
