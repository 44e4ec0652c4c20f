"""Points in two dimensions, coloured and marked by class.

Enters: positions [n, 2] and labels. Leaves: SVG and a legend. Called by the report's page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.page import escape
from sslkit.studies.charts import legend

SIDE: Final = 360
"""Width and height of a map, SVG units."""

_MARGIN: Final = 12
_MOST_CLASSES: Final = 20  # that a map can tell apart

STYLE: Final = """
.maps {
  display: grid; gap: 1rem; margin: 1rem 0; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr));
}
.maps > .legend { margin: 0; padding: 0.7rem 0.8rem; gap: 0.5rem 1.4rem; font-size: 0.9rem; }
.chart.map svg { max-width: none; }
.map .frame { fill: none; stroke: var(--line); }
.mark { stroke-linecap: round; stroke-linejoin: round; }
"""
"""What a page with maps adds to its style."""

# Marks around (0, 0) as relative paths; the first ten differ, as the first ten colours do.
_MARKS: Final = (
    "m-2 0a2 2 0 1 0 4 0a2 2 0 1 0 -4 0",  # disc
    "m-2 -2h4v4h-4z",  # square
    "m0 -2.6l2.5 4.4h-5z",  # triangle
    "m0 -2.8l2.4 2.8l-2.4 2.8l-2.4 -2.8z",  # diamond
    "m-2.4 -2.4l4.8 4.8m0 -4.8l-4.8 4.8",  # cross
    "m0 2.6l2.5 -4.4h-5z",  # triangle, downwards
    "m-2.7 0h5.4m-2.7 -2.7v5.4",  # plus
    "m-3 0h6",  # dash
    "m0 -3v6",  # bar
    "m-2.4 2.2l2.4 -4.4l2.4 4.4",  # roof
)
_LINES: Final = frozenset({4, 6, 7, 8, 9})  # marks that are drawn, not filled


@dataclass(frozen=True)
class Classes:
    """What the points of a map are called.

    Attributes:
        shown: Classes with a colour of their own.
        name: Of a class.
        others: How many further classes are drawn in grey.
    """

    shown: Sequence[int]
    name: Callable[[int], str]
    others: int

    @classmethod
    def of(cls, labels: NDArray[np.int64], name: Callable[[int], str]) -> Classes:
        """Return the classes of a map: all of them, or the most frequent of too many; label -1 is none.

        Args:
            labels: [n].
            name: Of a class.
        """
        found, counts = np.unique(labels[labels >= 0], return_counts=True)
        frequent = found[np.argsort(-counts, kind="stable")[:_MOST_CLASSES]]
        return cls(sorted(int(label) for label in frequent), name, len(found) - len(frequent))

    def legend(self) -> str:
        """Return the legend, empty without classes."""
        entries = [(_sample(number), self.name(label)) for number, label in enumerate(self.shown)]
        if self.others:
            entries.append((_sample(None), f"{self.others:,} other classes"))
        return legend(entries) if entries else ""


def scatter(title: str, positions: NDArray[Any], labels: NDArray[np.int64], classes: Classes, *, axes: str) -> str:
    """Return a map of points, each axis scaled alike.

    Args:
        title: Plain text.
        positions: [n, 2], finite.
        labels: [n].
        classes: Of the labels.
        axes: What the axes mean, plain text; empty where they mean nothing.
    """
    at = _fitted(np.asarray(positions, dtype=np.float64))
    known = np.isin(labels, classes.shown)
    parts = [_marks(at[~known], None, "other classes" if classes.shown else "images")]
    parts += [_marks(at[labels == label], number, classes.name(label)) for number, label in enumerate(classes.shown)]
    below = f"<figcaption>{escape(axes)}</figcaption>" if axes else ""
    words = f"{title}: {len(at):,} images" + (
        f" of {len(classes.shown) + classes.others:,} classes" if len(classes.shown) else ""
    )
    return (
        f'<figure class="chart map"><div class="name"><b>{escape(title)}</b></div>'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(words)}">'
        f'<rect class="frame" x="0.5" y="0.5" width="{SIDE - 1}" height="{SIDE - 1}" rx="6"/>{"".join(parts)}</svg>'
        f"{below}</figure>"
    )


def _fitted(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale and move positions into the square; y grows upwards."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    scale = (SIDE - 2 * _MARGIN) / (float((high - low).max()) or 1.0)
    return np.asarray(SIDE / 2 + (positions - (low + high) / 2) * scale * np.array([1.0, -1.0]))


def _marks(at: NDArray[np.float64], number: int | None, name: str) -> str:
    if not len(at):
        return ""
    path = "".join(f"M{x:.1f} {y:.1f}{_shape(number)}" for x, y in at)
    return f'<path class="mark" {_look(number)} d="{path}"><title>{escape(name)}</title></path>'


def _shape(number: int | None) -> str:
    return "h0" if number is None else _MARKS[number % 10]


def _look(number: int | None) -> str:
    if number is None:
        return 'fill="none" stroke="var(--quiet)" stroke-width="3" stroke-opacity="0.45"'
    colour = f"var(--c{(number + number // 10 * 3) % 10})"  # the second ten pair marks and colours anew
    if number % 10 in _LINES:
        return f'fill="none" stroke="{colour}" stroke-width="1.3" stroke-opacity="0.8"'
    return f'fill="{colour}" fill-opacity="0.75"'


def _sample(number: int | None) -> str:
    return (
        f'<svg viewBox="-5 -5 10 10" width="14" height="14" aria-hidden="true">'
        f'<path class="mark" {_look(number)} d="M0 0{_shape(number)}"/></svg>'
    )
