"""One thing that `sslkit doctor` has looked at. Called by every file here that reads something, and by the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One line of the table.

    Attributes:
        section: What it belongs to.
        name: What was looked at.
        text: What was found, for people.
        value: The same for programs: sizes in bytes, counts as numbers.
        problem: What it will hurt, and what to type; empty if nothing.
        stops: No run can start with that.
    """

    section: str
    name: str
    text: str
    value: Any = None
    problem: str = ""
    stops: bool = False


def size(num_bytes: int) -> str:
    """Return bytes in the unit that people read: `64 MiB`, `23.5 GiB`."""
    if num_bytes < 2**30:
        return f"{num_bytes / 2**20:.0f} MiB"
    return f"{num_bytes / 2**30:,.1f} GiB"
