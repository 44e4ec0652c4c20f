"""Values on a horizontal axis as wide as there is room: dots with intervals, and bars, as inline SVG.

Enters: numbers. Leaves: SVG without words of its own, so that a table can hold it. Called by the report's pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sslkit.page import escape

STYLE: Final = """
svg.track { display: block; width: 100%; height: 26px; overflow: visible; }
.rail { stroke: var(--line); stroke-width: 2; }
.tick { stroke: var(--line); stroke-width: 1; }
.interval { stroke: var(--accent); stroke-width: 16; stroke-opacity: 0.35; }
.dot { fill: var(--accent); stroke: var(--card); stroke-width: 1.5; }
.hollow { fill: var(--card); stroke: var(--quiet); stroke-width: 2; }
.quiet-interval { stroke: var(--quiet); stroke-width: 16; stroke-opacity: 0.3; }
.reference { stroke: var(--quiet); stroke-width: 1.5; }
.bar { stroke: var(--accent); stroke-width: 10; }
"""
"""What a page with tracks adds to its style."""


@dataclass(frozen=True)
class Reference:
    """A value that others are seen against.

    Attributes:
        name: Plain text.
        value: On the same axis.
        dashes: Of its line.
    """

    name: str
    value: float
    dashes: str


def track(
    value: float,
    label: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    interval: tuple[float, float] | None = None,
    references: Iterable[Reference] = (),
    baseline: bool = False,
) -> str:
    """Return one value on a horizontal axis that is as wide as there is room: a dot, with its interval as a bar.

    Args:
        value: Where the dot is.
        label: What it shows, for those who cannot see it.
        low: Value at the left end.
        high: Value at the right end.
        interval: Ends of the bar.
        references: Vertical lines.
        baseline: Hollow and grey: not what the run is about.
    """

    def at(number: float) -> str:
        return f"{min(max((number - low) / (high - low), 0.0), 1.0):.2%}"

    quarters = ("0%", "25%", "50%", "75%", "100%")
    parts = [f'<line class="tick" x1="{quarter}" x2="{quarter}" y1="9" y2="17"/>' for quarter in quarters]
    for reference in references:
        place = at(reference.value)
        parts.append(
            f'<line class="reference" stroke-dasharray="{reference.dashes}" x1="{place}" x2="{place}" y1="0" y2="26"/>'
        )
    if interval is not None:
        look = "quiet-interval" if baseline else "interval"
        parts.append(f'<line class="{look}" x1="{at(interval[0])}" x2="{at(interval[1])}" y1="13" y2="13"/>')
    parts.append(f'<circle class="{"hollow" if baseline else "dot"}" cx="{at(value)}" cy="13" r="4.5"/>')
    return _track(label, "".join(parts))


def scale(ticks: Sequence[str]) -> str:
    """Return what stands below tracks: texts at equal distances, the first at the left end, the last at the right one.

    Args:
        ticks: Plain texts, at least two.
    """
    texts = (
        f'<text x="{number / (len(ticks) - 1):.0%}" y="12" text-anchor="middle">{escape(tick)}</text>'
        for number, tick in enumerate(ticks)
    )
    return f'<svg class="track" style="height: 18px" aria-hidden="true">{"".join(texts)}</svg>'


def bar(value: float, label: str) -> str:
    """Return a fraction as a horizontal bar that is as wide as there is room.

    Args:
        value: From 0 to 1.
        label: What it shows, for those who cannot see it.
    """
    end = f"{min(max(value, 0.0), 1.0):.2%}"
    return _track(label, f'<line class="bar" x1="0" x2="{end}" y1="13" y2="13"/>')


def _track(label: str, content: str) -> str:
    rail = '<line class="rail" x1="0" x2="100%" y1="13" y2="13"/>'
    words = escape(label)
    return f'<svg class="track" role="img" aria-label="{words}"><title>{words}</title>{rail}{content}</svg>'
