"""A schedule is a pure function of the progress, finite for short and for long pretrainings."""

from __future__ import annotations

import math
from typing import Any, Final

from sslkit.engine.choices import built
from sslkit.engine.interfaces import Progress
from sslkit.testing.subject import Subject

_LENGTHS: Final = ((1, 1), (5, 1), (7, 7), (30, 3), (100_000, 100))
"""Steps in all, and of an epoch."""


def is_finite_and_not_negative(subject: Subject) -> None:
    """From the first step to the last, of one step as of a hundred thousand."""
    schedule = _schedule(subject)
    for progress in _all():
        factor = schedule(progress)
        subject.require(
            isinstance(factor, float | int) and math.isfinite(factor) and factor >= 0,
            "return a finite factor from 0 on",
            f"it returns {factor!r} for step {progress.step} of {progress.total_steps}",
            "bound what it divides by, for pretrainings that are shorter than the warm-up",
        )


def is_a_pure_function_of_progress(subject: Subject) -> None:
    """Asked in another order, twice, or anew, it says the same: a resumed run asks from the middle."""
    schedule, fresh = _schedule(subject), _schedule(subject)
    forwards = [schedule(progress) for progress in _all()]
    backwards = [fresh(progress) for progress in reversed(_all())][::-1]
    for progress, one, other in zip(_all(), forwards, backwards, strict=True):
        subject.require(
            one == other,
            "depend on the progress alone",
            f"for step {progress.step} of {progress.total_steps} it returns {one} and {other}",
            "compute it from progress.step, total_steps, epoch or fraction, and keep nothing",
        )


def _schedule(subject: Subject) -> Any:
    return built(subject.plan().schedules["learning_rate"], 0)


def _all() -> list[Progress]:
    return [
        Progress(step, total, per_epoch)
        for total, per_epoch in _LENGTHS
        for step in sorted({0, 1, total // 2, total - 1} & set(range(total)))
    ]
