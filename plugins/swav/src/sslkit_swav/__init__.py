"""SwAV for sslkit: an objective by which every view predicts the cluster of another view of its image.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit_swav.swapped_prediction import SwappedPrediction, equal_shares

__version__ = "0.1.0"

_HOME = "sslkit_swav.swapped_prediction"

__all__ = ["SwappedPrediction", "equal_shares"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sslkit_swav' has no attribute {name!r}")
    value = getattr(import_module(_HOME), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
