"""Curves over steps as inline SVG, whose colours follow the page and whose numbers can be read without them.

Enters: curves. Leaves: HTML. Called by the report's pages. A chart is drawn for about 360 pixels, so that its words
stay legible on a phone; wider pages show several side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sslkit.page import escape
from sslkit.studies.curves import Curve

WIDTH: Final = 360
HEIGHT: Final = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 348, 10, 164  # where curves lie, in SVG units

_POINTS: Final = 240  # of one curve: more than a chart of 360 pixels can tell apart
_FEW: Final = 40  # points up to which each gets a dot
_LOG_FROM: Final = 50.0  # ratio of the largest to the least value at which the axis becomes logarithmic
_NEAR_ZERO: Final = 0.35  # of the largest value: from a smaller least one the axis goes down to 0
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")

STYLE: Final = """
:root {
  --c0: #0b5ea8; --c1: #e06000; --c2: #14906a; --c3: #b5388a; --c4: #8a6a00;
  --c5: #3d9be0; --c6: #6b1020; --c7: #8a72e0; --c8: #2e3238; --c9: #848b94;
  --grid: #ece9e4;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --c0: #4f9fe6; --c1: #ff8b47; --c2: #2fc79a; --c3: #f08cc8; --c4: #d9b43a;
    --c5: #aadcff; --c6: #cf6a5c; --c7: #9480f2; --c8: #f4f6f8; --c9: #8b93a0;
    --grid: #2a3037;
  }
}
svg { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif; }
svg text { fill: var(--quiet); font-variant-numeric: tabular-nums; }
.charts {
  display: grid; gap: 1rem; margin: 1rem 0; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
}
.chart { padding: 0.7rem 0.8rem 0.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.chart svg { display: block; width: 100%; height: auto; max-width: 32rem; }
.chart .name { display: flex; justify-content: space-between; gap: 1rem; margin-bottom: 0.3rem; font-size: 0.9rem; }
.chart .name b { font-weight: 600; }
.axis { stroke: var(--grid); stroke-width: 1; }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
.band { fill-opacity: 0.2; }
.gap { stroke: var(--alarm); stroke-width: 1.5; fill: none; }
.legend {
  display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; margin: 0.5rem 0 0.2rem; padding: 0; list-style: none;
  font-size: 0.82rem;
}
.legend li { display: flex; gap: 0.4rem; align-items: center; }
.legend svg { flex: none; width: auto; }
"""
"""What a page with these charts adds to its style."""


@dataclass(frozen=True)
class Axis:
    """A range of numbers on a line of pixels.

    Attributes:
        low: Number at `start`.
        high: Number at `end`.
        start: SVG units.
        end: SVG units.
        ticks: Numbers to write.
        log: The distance of two numbers is their ratio.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    @classmethod
    def of(cls, low: float, high: float, start: float, end: float, *, log: bool = False, whole: bool = False) -> Axis:
        """Return an axis for finite numbers from `low` to `high`.

        Args:
            low: The least number.
            high: The largest.
            start: Where the axis begins, SVG units.
            end: Where it ends.
            log: Logarithmic; all numbers are above 0.
            whole: End at ticks; else exactly at the numbers given.
        """
        if log:
            ticks = _decades(low, high)
            return cls(min(low, ticks[0]), max(high, ticks[-1]), start, end, ticks, log=True)
        if low == high:  # a constant is seen against 0
            low, high = (min(low, 0.0), max(high, 0.0)) if low else (0.0, 1.0)
        step = _step((high - low) / 4)
        if whole:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        first = math.ceil(low / step - 1e-9)
        ticks = tuple(round(number * step, 12 - math.floor(math.log10(step))) for number in range(first, first + 12))
        return cls(low, high, start, end, tuple(tick for tick in ticks if tick <= high + step * 1e-6))

    def at(self, numbers: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return where numbers lie, SVG units."""
        values = np.asarray(numbers, dtype=np.float64)
        if self.log:
            share = (np.log(values) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        else:
            share = (values - self.low) / (self.high - self.low)
        return np.asarray(self.start + share * (self.end - self.start))


def _step(least: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _decades(low: float, high: float) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    every = -(-(last - first) // 5)
    return tuple(10.0**power for power in range(first, last + every, every))


def short(number: float) -> str:
    """Return a number in few characters: 0.25, 1,500, 25k, 1e-05."""
    if abs(number) >= 1e15:
        return f"{number:.0e}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{number:,g}" if abs(number) < 1e3 else f"{number:,.10g}"


def line_chart(title: str, curves: Mapping[str, Curve], *, ratios: bool = False, typical: bool = False) -> str:
    """Return a figure of curves over steps; the range that thinning left out is a band, a non-finite value a cross.

    Args:
        title: Plain text.
        curves: By their names; several get a legend, and lines that differ by their dashes too. An empty one only keeps
            its colour from being another's.
        ratios: It is ratios that matter: the axis is logarithmic if values of very different sizes occur.
        typical: Show the median beside the title of a single curve; else its last value.
    """
    thin = {name: curve.thinned(_POINTS) for name, curve in curves.items()}
    last = {name: float(curve.values[~np.isnan(curve.values)][-1]) for name, curve in _finite(curves).items()}
    head = f'<div class="name"><b>{escape(title)}</b><span>{_beside(curves, last, typical=typical)}</span></div>'
    if not last:
        return f'<figure class="chart">{head}<p class="quiet">No finite value.</p></figure>'
    low = min(float(np.nanmin(thin[name].low)) for name in last)
    high = max(float(np.nanmax(thin[name].high)) for name in last)
    log = ratios and low > 0 and high / low >= _LOG_FROM
    if not log and 0 < low < _NEAR_ZERO * high:
        low = 0.0
    first, end = (float(choose(thin[name].steps[side] for name in last)) for choose, side in ((min, 0), (max, -1)))
    x = Axis.of(0.0 if 0 < first < 0.05 * end else first, end, _LEFT, _RIGHT)
    y = Axis.of(low, high, _BOTTOM, _TOP, log=log, whole=True)
    parts = [*_frame(x, y), *(_drawn(curve, x, y, number) for number, curve in enumerate(thin.values()))]
    summary = _summary(title, curves, last, log=log)
    figure = (
        f'<figure class="chart">{head}<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">'
        f"<title>{escape(summary)}</title>{''.join(parts)}</svg>"
    )
    if len(curves) > 1:
        figure += legend((_line_sample(i), name) for i, (name, curve) in enumerate(curves.items()) if len(curve.steps))
    if missing := sum(int(curve.missing.sum()) for curve in curves.values()):
        total = sum(len(curve.steps) for curve in curves.values())
        figure += f'<p class="quiet">{missing:,} of {total:,} values are not finite, marked ×.</p>'
    return f"{figure}</figure>"


def _beside(curves: Mapping[str, Curve], last: Mapping[str, float], *, typical: bool) -> str:
    if len(curves) != 1 or not last:
        return ""
    name, value = next(iter(last.items()))
    return f"median {short(_round(float(np.nanmedian(curves[name].values))))}" if typical else short(_round(value))


def _finite(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if not np.isnan(curve.values).all()}


def _round(number: float) -> float:
    return float(f"{number:.4g}")


def _summary(title: str, curves: Mapping[str, Curve], last: Mapping[str, float], *, log: bool) -> str:
    axis = " (logarithmic axis)" if log else ""
    ends = (
        f"{name if len(curves) > 1 else 'curve'} ends at {short(_round(last[name]))}, "
        f"from {short(_round(float(np.nanmin(curve.values))))} to {short(_round(float(np.nanmax(curve.values))))}"
        for name, curve in list(_finite(curves).items())[:12]
    )
    return f"{title}{axis}: {'; '.join(ends)}"


def _frame(x: Axis, y: Axis) -> Iterable[str]:
    for tick, at in zip(y.ticks, y.at(np.array(y.ticks)), strict=True):
        yield f'<path class="axis" d="M{_LEFT} {at:.1f}H{_RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{at + 3.8:.1f}" text-anchor="end">{short(tick)}</text>'
    for tick, at in zip(x.ticks, x.at(np.array(x.ticks)), strict=True):
        anchor = "end" if at > _RIGHT - 16 else "middle"
        yield f'<text x="{at:.1f}" y="{_BOTTOM + 17}" text-anchor="{anchor}">{short(tick)}</text>'


def _drawn(curve: Curve, x: Axis, y: Axis, number: int) -> str:
    colour = f"var(--c{number % 10})"
    dashes = _DASHES[number // 10 % 4 if number >= 10 else number % 4]
    steps, there = x.at(curve.steps), ~np.isnan(curve.values)
    values = y.at(curve.values)
    parts = []
    for run in np.split(np.arange(len(steps)), np.flatnonzero(np.diff(there)) + 1):
        if not len(run) or not there[run[0]]:
            continue
        low, high = y.at(curve.low[run]), y.at(curve.high[run])
        if np.abs(low - high).max() >= 0.1:
            outline = [*zip(steps[run], high, strict=True), *zip(steps[run][::-1], low[::-1], strict=True)]
            parts.append(f'<path class="band" fill="{colour}" d="{_path(outline)}Z"/>')
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        points = list(zip(steps[run], values[run], strict=True))
        parts.append(f'<path class="curve" stroke="{colour}"{dash} d="{_path(points)}{"h0" * (len(points) == 1)}"/>')
        if len(steps) <= _FEW:
            dots = "".join(f"M{at:.1f} {value:.1f}h0" for at, value in points)
            parts.append(f'<path class="curve" stroke="{colour}" style="stroke-width: 5" d="{dots}"/>')
    crosses = "".join(f"M{at - 3:.1f} {_BOTTOM - 6}l6 6m0 -6l-6 6" for at in steps[curve.missing])
    return "".join(parts) + (f'<path class="gap" d="{crosses}"/>' if crosses else "")


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _line_sample(number: int) -> str:
    dashes = _DASHES[number // 10 % 4 if number >= 10 else number % 4]
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<svg viewBox="0 0 26 8" width="26" height="8" aria-hidden="true">'
        f'<path class="curve" stroke="var(--c{number % 10})"{dash} d="M1 4H25"/></svg>'
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return a legend.

    Args:
        entries: A sample as SVG, and the name as plain text.
    """
    items = (f"<li>{sample}<span>{escape(name)}</span></li>" for sample, name in entries)
    return f'<ul class="legend">{"".join(items)}</ul>'
