"""Kin of NT-Xent for sslkit: supervised contrastive learning, and decoupled contrastive learning.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_supcon.dcl import DCL
    from sslkit_supcon.sup_con import SupCon

__version__ = "0.1.0"

__all__ = ["DCL", "SupCon"]
__getattr__, __dir__ = load_on_use(__name__, {"DCL": "sslkit_supcon.dcl", "SupCon": "sslkit_supcon.sup_con"})
