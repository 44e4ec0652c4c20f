"""Which classes are taken for which: counts, and a map of them.

Enters: predicted and true classes. Leaves: counts and SVG. Called by the report's page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.page import escape
from sslkit.text import one_line

MOST_CLASSES: Final = 20
"""Classes of one map."""

_NAMES: Final = 112  # SVG units left of the cells and above them, for the names of classes
_NUMBERED: Final = 12  # classes up to which cells hold their numbers
_LETTERS: Final = 16

STYLE: Final = """
:root { --right: #55a39c; --wrong: #f0a58f; }
@media screen and (prefers-color-scheme: dark) { :root { --right: #256e68; --wrong: #8a3d30; } }
.confusion svg { display: block; width: 100%; min-width: 19rem; height: auto; }
.confusion .right { fill: var(--right); }
.confusion .wrong { fill: var(--wrong); }
.confusion .cells { fill: none; stroke: var(--line); }
.confusion text.share { fill: var(--ink); text-anchor: middle; }
"""
"""What a page with such a map adds to its style."""


@dataclass(frozen=True)
class Confusion:
    """How often which class was taken for which.

    Attributes:
        classes: Int64 [C], those that occur, in order.
        counts: Int64 [C, C], true class by predicted class.
    """

    classes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, predicted: NDArray[Any], label: NDArray[Any]) -> Confusion:
        """Count.

        Args:
            predicted: Integer [n].
            label: Integer [n].
        """
        classes, position = np.unique(np.concatenate([label, predicted]), return_inverse=True)
        side = len(classes)
        true, given = position[: len(label)], position[len(label) :]
        counts = np.bincount(true * side + given, minlength=side * side).reshape(side, side)
        return cls(classes.astype(np.int64), counts.astype(np.int64))

    @property
    def recalls(self) -> NDArray[np.float64]:
        """The fraction of each class's images that were recognised [C]; not a number for a class without images."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diag(self.counts) / self.counts.sum(axis=1))

    def most_confused(self, count: int = MOST_CLASSES) -> Confusion:
        """Return the classes of the most frequent confusions; all, if there are no more.

        Args:
            count: How many classes.
        """
        if len(self.classes) <= count:
            return self
        wrong = self.counts - np.diag(np.diag(self.counts))
        flat = np.argsort(-wrong, axis=None, kind="stable")[: count * count]
        members = np.stack(np.unravel_index(flat, wrong.shape), axis=1).ravel()
        _, first = np.unique(members, return_index=True)
        kept = np.sort(members[np.sort(first)][:count])
        return Confusion(self.classes[kept], self.counts[np.ix_(kept, kept)])


def heat_map(confusion: Confusion, totals: NDArray[np.int64], name: Callable[[int], str], title: str) -> str:
    """Return the map: a row for each true class, a column for each predicted one, shares of the class's images.

    Args:
        confusion: Not too many classes.
        totals: Test images of each of them [C], which may have been taken for classes that are not shown.
        name: Of a class.
        title: Plain text.
    """
    side = len(confusion.classes)
    cell = 30.0 if side <= _NUMBERED else 18.0
    shares = confusion.counts / np.maximum(totals, 1)[:, None]
    largest = float((shares - np.diag(np.diag(shares))).max(initial=0.0)) or 1.0
    names = [one_line(name(int(label)), _LETTERS) for label in confusion.classes]
    full = [name(int(label)) for label in confusion.classes]
    width = _NAMES + side * cell + 1
    parts = []
    for number, short in enumerate(names):
        at = _NAMES + (number + 0.5) * cell
        parts.append(f'<text x="{_NAMES - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(short)}</text>')
        parts.append(f'<text transform="translate({at + 4:.1f} {_NAMES - 6}) rotate(-90)">{escape(short)}</text>')
    for row, column in np.argwhere(confusion.counts > 0):
        share, count = float(shares[row, column]), int(confusion.counts[row, column])
        x, y = _NAMES + column * cell, _NAMES + row * cell
        opacity = share if row == column else share / largest
        words = f"{full[row]} taken for {full[column]}: {share:.1%} ({count:,} of {int(totals[row]):,})"
        look = f'class="{"right" if row == column else "wrong"}" fill-opacity="{opacity:.2f}"'
        rectangle = f'<rect {look} x="{x:g}" y="{y:g}" width="{cell:g}" height="{cell:g}"/>'
        text = ""
        if side <= _NUMBERED and share >= 0.005:
            text = f'<text class="share" x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}">{share * 100:.0f}</text>'
        parts.append(f"<g><title>{escape(words)}</title>{rectangle}{text}</g>")
    parts.append(f'<rect class="cells" x="{_NAMES}" y="{_NAMES}" width="{side * cell:g}" height="{side * cell:g}"/>')
    size = f'viewBox="0 0 {width:g} {width:g}" style="max-width: {1.25 * width:.0f}px"'
    drawing = f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<div class="scroll confusion">{drawing}</div>'
