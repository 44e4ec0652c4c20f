"""SwAV for sslkit: an objective by which every view predicts the cluster of another view of its image.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_swav.swapped_prediction import SwappedPrediction, equal_shares

__version__ = "0.1.0"

__all__ = ["SwappedPrediction", "equal_shares"]
__getattr__, __dir__ = load_on_use(__name__, dict.fromkeys(__all__, "sslkit_swav.swapped_prediction"))
