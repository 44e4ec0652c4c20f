"""A factor that rises."""

from typing import Annotated

from annotated_types import Interval


def ramp(*, start: Annotated[float, Interval(ge=0, le=1)] = 0.1):
    """Return the schedule.

    Args:
        start: First factor; the last one is 1.
    """
    return lambda progress: start + (1 - start) * progress.fraction
