"""Whether the batches of a recipe can be dealt out to the ranks, known before any of them starts.

Enters: a recipe's document, as read; no component is imported for it. Leaves: nothing, or one line per key. Called by
`sslkit run --nproc`; the engine checks again, for launchers that are not sslkit's.
"""

from __future__ import annotations

from typing import Final

from sslkit.errors import RecipeError
from sslkit.recipe.read import Document

_KEYS: Final = ("batch_size", "micro_batch_size")


def require_divisible(document: Document, ranks: int) -> None:
    """Refuse batch sizes that are no multiple of the number of processes, and name the nearest that are.

    What else may be wrong with them, the ranks report with the rest of the recipe.

    Raises:
        RecipeError: With the key and its place.
    """
    table = document.tree.get("pretrain")
    pretrain = table if isinstance(table, dict) else {}
    problems = []
    for key in _KEYS:
        size = pretrain.get(key)
        if type(size) is int and size > 0 and size % ranks:
            below = size - size % ranks
            fitting = " or ".join(str(value) for value in (below, below + ranks) if value)
            place = document.where(("pretrain", key))
            problems.append(f"{place} pretrain.{key}: {size} cannot be split over {ranks} processes; say {fitting}")
    if problems:
        raise RecipeError(problems)
