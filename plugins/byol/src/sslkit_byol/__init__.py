"""BYOL and SimSiam for sslkit: two methods in which one view predicts the other, without negatives.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_byol.byol import BYOL
    from sslkit_byol.simsiam import SimSiam

__version__ = "0.1.0"

__all__ = ["BYOL", "SimSiam"]
__getattr__, __dir__ = load_on_use(__name__, {"BYOL": "sslkit_byol.byol", "SimSiam": "sslkit_byol.simsiam"})
