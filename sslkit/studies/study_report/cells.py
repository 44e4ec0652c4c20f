"""One number of a study: its value, how sure it is, why it is missing, and whether it differs from another.

Enters: values of seeds, intervals. Leaves: cells, and verdicts about two of them. Called by `values`, which reads
them from runs, by `references`, which reads the paper's, and by all that draws or writes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sslkit.studies.significance import mean_and_deviation

# The 0.975 quantile of Student's t for 1, 2, ... degrees of freedom; beyond, the expansion below is right to 4 digits.
# Source: any table of the distribution, such as Fisher & Yates 1938, table III.
_T: Final = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_NORMAL: Final = 1.959964  # of the normal distribution


@dataclass(frozen=True)
class Cell:
    """One number of a chart.

    Attributes:
        value: Mean over seeds, a fraction if the measure is one; None if there is none.
        percent: It is to be shown in percent.
        samples: The value of each seed.
        deviation: Sample deviation between seeds; None of a single one.
        interval: 95 %; between seeds by Student's t, of a single run its bootstrap interval over test images.
        planned: How many seeds there are to be; 0 where the study, or the reference, plans nothing.
        problem: Why there is no value, or not one of every seed; "" if all is well.
        failed: A run has failed.
        recalled: A reference's, and recalled by whoever wrote it down, not read.
        paper: The reference's number of the same thing.
    """

    value: float | None
    percent: bool = True
    samples: tuple[float, ...] = ()
    deviation: float | None = None
    interval: tuple[float, float] | None = None
    planned: int = 0
    problem: str = ""
    failed: bool = False
    recalled: bool = False
    paper: Cell | None = None

    @property
    def is_blank(self) -> bool:
        """There is nothing here, and nothing is missing."""
        return self.value is None and self.planned == 0

    @property
    def drawn(self) -> float:
        """The value in the unit in which it is shown; not a number if there is none."""
        return math.nan if self.value is None else self.value * self.factor

    @property
    def factor(self) -> float:
        """From the value to the unit in which it is shown."""
        return 100.0 if self.percent else 1.0

    @property
    def bar(self) -> tuple[float, float] | None:
        """Ends of the error bar, in the unit shown: a deviation to both sides, of a single run its interval."""
        if self.value is None or (self.deviation is None and self.interval is None):
            return None
        ends = self.interval or (self.value, self.value)
        if self.deviation is not None:
            ends = self.value - self.deviation, self.value + self.deviation
        low, high = self._within(ends)
        return low * self.factor, high * self.factor

    def _within(self, ends: tuple[float, float]) -> tuple[float, float]:
        """Return the ends of an interval, those of a fraction from 0 to 1."""
        return (max(ends[0], 0.0), min(ends[1], 1.0)) if self.percent else ends

    def number(self, value: float | None, digits: int = 2) -> str:
        """Return a number in the unit shown: of what is no fraction as `plain_number` does.

        Args:
            value: In the unit of `value`.
            digits: After the point, of percent.
        """
        if value is None:
            return "–"
        return f"{value * self.factor:.{digits}f}" if self.percent else plain_number(value)

    def shown(self, digits: int = 2) -> str:
        """Return the value with its deviation, without its unit; a dash if there is none.

        Args:
            digits: After the point, of percent.
        """
        text = self.number(self.value, digits)
        return text if self.deviation is None else f"{text} ± {self.number(self.deviation, digits)}"

    @property
    def sure(self) -> str:
        """How many seeds, and the 95 % interval, in words."""
        parts = []
        if len(self.samples) > 1:
            parts.append(f"{len(self.samples)} seeds")
        if self.interval is not None:
            kind = "95 %" if len(self.samples) > 1 else "95 % over test images"
            parts.append(f"{kind}: {' to '.join(map(self.number, self._within(self.interval)))}")
        return ", ".join(parts)


def plain_number(value: float) -> str:
    """Return a number that is no fraction: four digits in all, thousands as 64,000, more as 0.37 M.

    Args:
        value: Of any unit.
    """
    if 1e5 <= abs(value) < 1e15:
        return f"{value / 1e6:,.2f} M"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e5 else f"{value:.4g}"


def t_quantile(freedom: float) -> float:
    """Return the 0.975 quantile of Student's t distribution: how many standard errors a 95 % interval reaches.

    Args:
        freedom: Degrees of freedom, at least 1; a fraction is rounded down, which makes intervals wider.

    Source: Abramowitz & Stegun 1964, 26.7.5.
    """
    n = int(freedom)
    if n <= len(_T):
        return _T[max(n, 1) - 1]
    z = _NORMAL
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / n**power for power, term in enumerate(terms)))


def seeds_interval(samples: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean over seeds; None of a single one.

    Args:
        samples: At least one.
    """
    mean, deviation = mean_and_deviation(samples)
    if deviation is None:
        return None
    half = t_quantile(len(samples) - 1) * deviation / math.sqrt(len(samples))
    return mean - half, mean + half


def differs(a: Cell, b: Cell) -> bool:
    """Tell whether two values differ significantly, at 5 %.

    Between means over seeds by Welch's test. Between two single runs by their bootstrap intervals, as if their test
    images were not the same: that misses some differences, and speaks of the test images only. Of anything else no.

    Args:
        a: A cell with a value.
        b: Another.

    Source: Welch 1947, Biometrika 34.
    """
    if a.value is None or b.value is None:
        return False
    several = [len(cell.samples) > 1 for cell in (a, b)]
    if all(several):
        parts = [(cell.deviation or 0.0) ** 2 / len(cell.samples) for cell in (a, b)]
        total = sum(parts)
        if total == 0:
            return a.value != b.value
        freedom = total**2 / sum(part**2 / (len(cell.samples) - 1) for part, cell in zip(parts, (a, b), strict=True))
        return abs(a.value - b.value) > t_quantile(freedom) * math.sqrt(total)
    if not any(several) and a.interval is not None and b.interval is not None:
        halves = [(high - low) / 2 for low, high in (a.interval, b.interval)]
        return abs(a.value - b.value) > math.hypot(*halves)
    return False
