"""Cosine decay after a linear warm-up.

Enters: the recipe's options; per step, the progress. Leaves: a factor on the base value. Called by the engine
before each update, for the learning rate or whatever else the recipe schedules.
"""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge

from sslkit import Progress, Schedule
from sslkit.builtin.schedules.warmup import warmup_steps


def cosine(*, warmup_epochs: Annotated[float, Ge(0)] = 10.0, final_factor: Annotated[float, Ge(0)] = 0.0) -> Schedule:
    """Return a linear rise from 0 to 1, then half a cosine from 1 to the final factor, without restarts.

    The factor is 0 at step 0 (if there is a warm-up), 1 at the end of the warm-up and `final_factor` at
    `total_steps`, one step after the last. A pretraining shorter than its warm-up only rises: its last step has
    the factor (total_steps - 1) / total_steps.
    Source: Chen et al. 2020 (SimCLR), section 2.3; Loshchilov and Hutter 2017 (SGDR), equation 5, one period.

    Args:
        warmup_epochs: Epochs of linear warm-up; 0 starts at the full value.
        final_factor: The factor at the very end, as a share of the base value; may exceed 1.
    """

    def factor(progress: Progress) -> float:
        warmup = warmup_steps(progress, warmup_epochs)
        if progress.step < warmup:
            return progress.step / warmup
        decay_steps = max(progress.total_steps - warmup, 1)
        done = min((progress.step - warmup) / decay_steps, 1.0)
        return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * done))

    return factor
