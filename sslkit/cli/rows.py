"""Rows below each other: what `plugins` and `components` print. No command.

Enters: rows of words. Leaves: text that fits the terminal; where there is none, one line a row, for grep.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

from sslkit.text import one_line

_NARROWEST: Final = 24  # of the last column: below it a line is left to the terminal to break


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[str]:
    """Return a text for each row, columns below each other; the last one goes on in further lines if it has to.

    Args:
        rows: Of equal length; whatever is in them is made safe to print.
        indent: Blanks before each line.
    """
    safe = [[*map(one_line, row[:-1]), one_line(row[-1], 1000)] for row in rows]
    widths = [max(map(len, column)) for column in list(zip(*safe, strict=True))[:-1]]
    texts = []
    for *words, last in safe:
        start = " " * indent + "".join(f"{word:{width}}  " for word, width in zip(words, widths, strict=True))
        parts = [last]
        if sys.stdout.isatty():
            room = max(shutil.get_terminal_size().columns - len(start), _NARROWEST)
            parts = textwrap.wrap(last, room, break_on_hyphens=False) or [""]
        texts.append(f"\n{' ' * len(start)}".join([(start + parts[0]).rstrip(), *parts[1:]]))
    return texts
