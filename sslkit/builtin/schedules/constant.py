"""A constant factor, after a linear warm-up if one is asked for.

Enters: the recipe's options; per step, the progress. Leaves: a factor on the base value. Called by the engine
before each update.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from sslkit import Progress, Schedule
from sslkit.builtin.schedules.warmup import warmup_steps


def constant(*, warmup_epochs: Annotated[float, Ge(0)] = 0.0) -> Schedule:
    """Return a linear rise from 0 to 1, then 1 to the end.

    Args:
        warmup_epochs: Epochs of linear warm-up, at most the whole pretraining; 0 has none.
    """

    def factor(progress: Progress) -> float:
        warmup = warmup_steps(progress, warmup_epochs)
        return progress.step / warmup if progress.step < warmup else 1.0

    return factor
