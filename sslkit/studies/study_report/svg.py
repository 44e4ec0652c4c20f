"""What the charts of a study have in common: panels, their colours and words, and the files made of them.

Enters: marks as SVG. Leaves: a panel for a page, which follows its colours; or a file of its own, for slides and
papers: always light, without variables or anything else that drawing programs do not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sslkit.page import escape, page
from sslkit.studies import charts
from sslkit.studies.study_report.colours import BY_DAY, BY_NIGHT, levels
from sslkit.text import one_line

_FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif'
_ADVANCE: Final = 0.62  # of a letter of such a font, in its size; digits are as wide
_NARROW: Final = "iljtfrI.,:;|'()/ "
_BROAD: Final = "mwMW@%"
_GAP: Final = 24  # between panels of a file
_HEAD: Final = 34  # above them

_MARKS: Final = """
.grid { stroke: var(--grid); stroke-width: 1; fill: none; }
.base { stroke: var(--quiet); stroke-width: 1; fill: none; }
.ink { fill: var(--ink); }
.strong { fill: var(--ink); font-weight: 600; }
.faint { fill: var(--quiet); font-style: italic; }
.bad { fill: var(--alarm); }
.recalled { font-style: italic; }
.hole { fill: none; stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 2 3; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.4; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.whisker { fill: none; stroke-width: 1.3; }
.over { stroke: var(--ink); stroke-opacity: 0.75; }
.point { stroke: var(--card); stroke-width: 1; }
.leader { stroke: var(--quiet); stroke-width: 0.7; fill: none; }
"""


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        title: Plain text; "" if the chart's title says all.
        summary: Plain text for those who cannot see it.
        width: SVG units, about a pixel each on a phone.
        height: SVG units.
        body: SVG.
    """

    title: str
    summary: str
    width: float
    height: float
    body: str

    def widened(self, left: float) -> Panel:
        """Return the panel with more room on its left.

        Args:
            left: SVG units.
        """
        if not left:
            return self
        body = f'<g transform="translate({left:.1f} 0)">{self.body}</g>'
        return replace(self, width=self.width + left, body=body)


def inline(panel: Panel) -> str:
    """Return a panel as a figure of a page, as wide as there is room, on a phone the whole screen.

    Args:
        panel: A drawing.
    """
    words, head = escape(panel.summary), ""
    if panel.title:
        head = f'<div class="name"><b>{escape(panel.title)}</b></div>'
    size = f"max-width: {1.3 * panel.width:.0f}px; min-width: {0.7 * panel.width:.0f}px"
    room = f"flex: 1 1 {panel.width:.0f}px; max-width: {1.5 * panel.width:.0f}px"
    box = f"0 0 {panel.width:.0f} {panel.height:.0f}"
    return (
        f'<figure class="chart panel" style="{room}">{head}<div class="fit"><svg viewBox="{box}" '
        f'style="{size}" role="img" aria-label="{words}"><title>{words}</title>{panel.body}</svg></div></figure>'
    )


def file_of(title: str, panels: Sequence[Panel], notes: Iterable[str] = ()) -> str:
    """Return panels as the text of one SVG file, two side by side.

    Args:
        title: Plain text.
        panels: At least one.
        notes: Lines of plain text below.
    """
    rows = [panels[start : start + 2] for start in range(0, len(panels), 2)]
    width = _GAP + max(sum(panel.width + _GAP for panel in row) for row in rows)
    top, parts = _GAP + 26.0, [text(_GAP, _GAP + 8, cut(title, width - 2 * _GAP, 16), "strong", size=16)]
    for row in rows:
        left = float(_GAP)
        head = _HEAD if any(panel.title for panel in row) else 0
        for panel in row:
            name = text(left, top + 16, cut(panel.title, panel.width, 12), "strong", size=12) if panel.title else ""
            moved = f'<g transform="translate({left:.0f} {top + head:.0f})">{panel.body}</g>'
            parts.append(f"<g><title>{escape(panel.summary)}</title>{name}{moved}</g>")
            left += panel.width + _GAP
        top += max(panel.height for panel in row) + head + _GAP
    for note in notes:
        for line in _wrapped(note, width - 2 * _GAP):
            parts.append(text(_GAP, top, line))
            top += 15
    height = top + _GAP / 2
    words = escape(title)
    return _plain(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{words}">\n<title>{words}</title>\n<style>'
        f"svg {{ font: 11px {_FONT}; }}\ntext {{ fill: var(--quiet); }}\n{_MARKS}{levels(BY_DAY)}</style>\n"
        f'<rect width="100%" height="100%" fill="var(--card)"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _plain(svg: str) -> str:
    """Replace the page's variables by its colours by day, which it names first."""
    colours: dict[str, str] = {}
    for name, colour in re.findall(r"--([\w-]+): (#[0-9a-f]{6})", page("", "", style=charts.STYLE)):
        colours.setdefault(name, colour)
    return re.sub(r"var\(--([\w-]+)\)", lambda found: colours.get(found[1], found[0]), svg)


def _wrapped(line: str, width: float) -> list[str]:
    lines = [""]
    for word in one_line(line, 1000).split():
        joined = f"{lines[-1]} {word}".strip()
        if width_of(joined) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


def text(
    x: float, y: float, words: str, look: str = "", *, anchor: str = "start", size: float = 11, turn: float = 0
) -> str:
    """Return a line of text as SVG.

    Args:
        x: Where it is anchored, SVG units.
        y: Of the line that letters stand on.
        words: Plain text; escaped here.
        look: Classes.
        anchor: "start", "middle" or "end".
        size: Of the font.
        turn: Degrees, clockwise.
    """
    looks = f' class="{look}"' if look else ""
    sized = f' font-size="{size:g}" style="font-size: {size:g}px"' if size != 11 else ""
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    anchored = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}{looks}{sized}{turned}>{escape(words)}</text>'


def width_of(words: str, size: float = 11) -> float:
    """Return about how wide a line is, SVG units.

    Args:
        words: Plain text.
        size: Of the font.
    """
    return size * sum(
        0.36 if letter in _NARROW else 1.0 if letter in _BROAD or ord(letter) > 0x2E7F else _ADVANCE for letter in words
    )


def cut(words: str, width: float, size: float = 11) -> str:
    """Return a line, its end left out if it is wider than there is room.

    Args:
        words: Plain text.
        width: SVG units.
        size: Of the font.
    """
    words = one_line(words)
    if width_of(words, size) <= width:
        return words
    while words and width_of(words + "…", size) > width:
        words = words[:-1]
    return words.rstrip() + "…"


def colour(number: int) -> str:
    """Return the colour of a series, the page's, as CSS.

    Args:
        number: From 0; beyond 9 they come again.
    """
    return f"var(--c{number % 10})"


def samples(title: str, names: Sequence[tuple[int, str]], left: float, width: float, top: float) -> tuple[str, float]:
    """Return a legend of coloured squares as SVG, and its height.

    Args:
        title: What the series are, plain text.
        names: Number and name of each series, plain text.
        left: Where lines begin, SVG units.
        width: Of a line.
        top: Where it begins.
    """
    title = cut(title, width / 2)
    parts, y = [text(left, top + 10, title)] if title else [], top + 10
    x = left + (width_of(title) + 10 if title else 0)
    for number, name in names:
        shown = cut(name, width - 20)
        if x > left and x + 16 + width_of(shown) > left + width:
            x, y = left, y + 17
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour(number)}"/>')
        parts.append(text(x + 15, y, shown, "ink"))
        x += 15 + width_of(shown) + 16
    return "".join(parts), y + 8 - top


STYLE: Final = f"""
{_MARKS}{levels(BY_DAY)}
@media screen and (prefers-color-scheme: dark) {{
{levels(BY_NIGHT)}}}
.panels {{ display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; align-items: flex-start; }}
.panel .fit {{ overflow-x: auto; }}
.panel svg {{ margin: 0 auto; }}
"""
"""What a page with a study's charts adds to its style."""
