"""What happened while a run learned: loss, rates, speed, and what the online callback measured.

Enters: curves. Leaves: HTML. Called by the report's pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from sslkit.page import escape
from sslkit.studies.charts import line_chart
from sslkit.studies.curves import Curve
from sslkit.studies.run_files import RunFiles
from sslkit.text import one_line

_FIRST: Final[Mapping[str, str]] = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "images_per_second": "images per second",
    "data_wait": "wait for data, seconds",
}
_ONLINE: Final = "online_"
_ONLINE_TITLES: Final[Mapping[str, str]] = {
    "top1": "top-1 accuracy",
    "rankme": "RankMe",
    "std": "deviation per dimension",
    "dims": "effective dimensions",
}
_ABOUT: Final = "Over steps. Where a line stands for several steps it is their mean, and the band their range."
_MOST_RUNS: Final = 20  # curves in one chart: ten colours, each with two dashes
_MOST_ALARMS: Final = 20


def curves_of(files: RunFiles) -> Iterator[str]:
    """Yield the section of one run: a chart for each column of its metrics."""
    if not files.curves:
        return
    yield "<h2>Curves</h2>"
    yield f'<p class="quiet">{_ABOUT}</p>'
    online = {name: curve for name, curve in files.curves.items() if name.startswith(_ONLINE)}
    own = {name: files.curves[name] for name in _FIRST if name in files.curves}
    own |= {name: curve for name, curve in files.curves.items() if name != "epoch" and name not in online}
    yield _grid(_chart(name, {name: curve}) for name, curve in own.items())
    alarms = [line for line in files.warnings if "collaps" in line.lower()]
    if online or alarms:
        yield "<h3>Health</h3>"
    if online:
        yield (
            '<p class="quiet">Measured on a few images while the run learned: for watching. '
            "The scores above are the ones to quote.</p>"
        )
        yield _grid(line_chart(title, members) for title, members in _by_measure(online).items())
    for alarm in alarms[:_MOST_ALARMS]:
        yield f'<p class="alarm">{escape(one_line(alarm, 600))}</p>'


def shared_curves(curves: Mapping[str, Mapping[str, Curve]]) -> Iterator[str]:
    """Yield the section of several runs: their curves over each other.

    Args:
        curves: Of each run, by its label.
    """
    names = [name for name in _FIRST if any(name in of_run for of_run in curves.values())]
    names += sorted({name for of_run in curves.values() for name in of_run if name.startswith(_ONLINE)})
    if not names:
        return
    yield "<h2>Curves</h2>"
    first = f" Of the first {_MOST_RUNS} runs." if len(curves) > _MOST_RUNS else ""
    yield f'<p class="quiet">{_ABOUT}{first}</p>'
    shown = dict(list(curves.items())[:_MOST_RUNS])
    none = Curve.of(np.empty(0), np.empty(0))  # keeps a run's colour the same in all charts
    yield _grid(_chart(name, {label: of_run.get(name, none) for label, of_run in shown.items()}) for name in names)


def _chart(name: str, curves: Mapping[str, Curve]) -> str:
    title = _FIRST.get(name, name.replace("_", " "))
    return line_chart(title, curves, ratios=name in ("loss", "gradient_norm"), typical=name == "images_per_second")


def _by_measure(online: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Return charts by their titles: h and z of a measure in one of them, and so the accuracies."""
    charts: dict[str, dict[str, Curve]] = {}
    for name, curve in online.items():
        words = name.removeprefix(_ONLINE)
        measure, _, of = words.rpartition("_")
        if of == "top1":
            measure, of = of, measure
        elif of not in ("h", "z"):
            measure, of = words, words
        charts.setdefault(_ONLINE_TITLES.get(measure, measure.replace("_", " ")), {})[of] = curve
    return charts


def _grid(figures: Iterable[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>'
