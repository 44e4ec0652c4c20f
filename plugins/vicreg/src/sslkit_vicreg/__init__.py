"""VICReg and Barlow Twins for sslkit: two objectives that need neither negatives nor a second network.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_vicreg.barlow_twins import BarlowTwins
    from sslkit_vicreg.vicreg import VICReg

__version__ = "0.1.0"

__all__ = ["BarlowTwins", "VICReg"]
__getattr__, __dir__ = load_on_use(
    __name__, {"BarlowTwins": "sslkit_vicreg.barlow_twins", "VICReg": "sslkit_vicreg.vicreg"}
)
