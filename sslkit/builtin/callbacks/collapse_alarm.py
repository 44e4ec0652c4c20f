"""When to cry that the embeddings of a training have collapsed.

Enters: two numbers every few steps. Leaves: one sentence at the onset. Called by `online`.
"""

from __future__ import annotations

from typing import Any

ALIKE = 0.05
"""Mean deviation of the normalised embeddings, where 1 is spread evenly: below it, images are all alike. Our choice, as
is the next: untrained networks of ten architectures have 0.11 and 1.7 or more, SimCLR in its first steps 0.35 and
1.7."""

FEW = 1.5
"""Participation ratio of the variances: below it, images differ along one direction only. Embeddings of fewer than 6
dimensions: below a quarter of them, which is never."""

PATIENCE = 2
"""Checks in a row: single ones come and go in the first steps of a healthy training."""


class CollapseAlarm:
    """Rings once each time a collapse sets in."""

    def __init__(self) -> None:
        self._bad = 0

    def hear(self, deviation: float, directions: float, dim: int) -> str | None:
        """Return what has happened, if it is time to say so.

        Args:
            deviation: Mean deviation of the normalised embeddings.
            directions: Participation ratio of their variances.
            dim: Of the embeddings.
        """
        if deviation < ALIKE:
            found = f"are all alike (mean deviation {deviation:.3f}, where 1 is spread evenly)"
        elif directions < min(FEW, dim / 4):
            found = f"differ along one direction only ({directions:.1f} of {dim} in use)"
        else:
            self._bad = 0
            return None
        self._bad += 1
        return found if self._bad == PATIENCE else None

    def state_dict(self) -> dict[str, Any]:
        """Return how many checks in a row were bad."""
        return {"bad": self._bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._bad = state["bad"]
