"""Momentum contrast for sslkit: MoCo v2 with its queue of keys, and MoCo v3 with a predictor.

The public names of the package. They load on first use, so that importing this page imports no torch; other
plugins import from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sslkit import load_on_use

if TYPE_CHECKING:
    from sslkit_moco.grouped_copy import GroupedCopy
    from sslkit_moco.key_queue import KeyQueue
    from sslkit_moco.patch_embedding import freeze_patch_embedding
    from sslkit_moco.v2 import MoCoV2
    from sslkit_moco.v3 import MoCoV3

__version__ = "0.1.0"

__all__ = ["GroupedCopy", "KeyQueue", "MoCoV2", "MoCoV3", "freeze_patch_embedding"]
__getattr__, __dir__ = load_on_use(
    __name__,
    {
        "GroupedCopy": "sslkit_moco.grouped_copy",
        "KeyQueue": "sslkit_moco.key_queue",
        "MoCoV2": "sslkit_moco.v2",
        "MoCoV3": "sslkit_moco.v3",
        "freeze_patch_embedding": "sslkit_moco.patch_embedding",
    },
)
