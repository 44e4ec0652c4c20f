"""The linear warm-up that every schedule may begin with.

Enters: a progress and a number of epochs. Leaves: a number of steps. Called by the schedules of this folder.
"""

from __future__ import annotations

import math

from sslkit import Progress


def warmup_steps(progress: Progress, warmup_epochs: float) -> int:
    """Return the length of the warm-up in steps, rounded down, and never longer than the pretraining.

    Source: Chen et al. 2020 (SimCLR), section 2.3, with the rounding of the official code (`model_util.py`).

    Args:
        progress: Says how many steps an epoch and the pretraining have.
        warmup_epochs: Length in epochs; a fraction is allowed.
    """
    # The small term keeps products such as 0.29 * 100 = 28.999999999999996 from losing a step.
    return min(math.floor(warmup_epochs * progress.steps_per_epoch + 1e-9), progress.total_steps)
