"""What the classes of a score look like from inside: what is recognised, and what is taken for what.

Enters: stored predictions and the names of classes. Leaves: HTML. Called by the report's page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import DataError
from sslkit.page import columns, escape
from sslkit.studies.confusion import MOST_CLASSES, Confusion, heat_map
from sslkit.studies.scores import voc_map
from sslkit.studies.tracks import bar

_ENDS: Final = 8  # best and worst classes that are listed of more than twice as many

STYLE: Final = """
.confused { width: min(34rem, 90vw); }
.classes { width: min(30rem, 90vw); }
.classes table { width: 100%; }
.classes th, .classes td { padding-right: 0.8rem; vertical-align: middle; border: 0; padding-block: 0.05rem; }
.classes th { color: var(--ink); font-weight: 400; width: 36%; }
.classes td { font-size: 0.85rem; }
.classes td:last-child { text-align: right; white-space: nowrap; width: 7.5em; padding-right: 0; }
"""
"""What a page with classes adds to its style."""


def classes_of(predictions: Mapping[str, NDArray[Any]], name: Callable[[int], str]) -> str:
    """Return the confusion of classes and how well each is recognised; of several labels, each one's precision.

    Args:
        predictions: As the evaluation stored them; empty without those that are needed.
        name: Of a class.
    """
    label = predictions.get("label")
    if label is None or not len(label):
        return ""
    if label.ndim == 2 and "scores" in predictions and predictions["scores"].shape == label.shape:
        return _precisions(predictions["scores"], label, name)
    if label.ndim != 1 or "predicted" not in predictions or predictions["predicted"].shape != label.shape:
        return ""
    whole = Confusion.of(predictions["predicted"], label)
    if len(whole.classes) < 2:
        return ""
    sizes = whole.counts.sum(axis=1)
    part = whole.most_confused()
    totals = sizes[np.searchsorted(whole.classes, part.classes)]
    title = "Confusion of classes"
    if len(part.classes) < len(whole.classes):
        title = f"The {MOST_CLASSES} classes most often taken for another, of {len(whole.classes):,}"
    shades = "A row is a true class, a column what it was taken for, in percent of the row. "
    shades += "On the diagonal it was right; errors are shaded by their share of the largest one."
    left = (
        f'<div class="confused"><h4>{escape(title)}</h4>{heat_map(part, totals, name, title)}'
        f'<p class="quiet">{shades}</p></div>'
    )
    recalls = {int(c): float(r) for c, r, n in zip(whole.classes, whole.recalls, sizes, strict=True) if n}
    amounts = {int(c): f"of {int(n):,}" for c, n in zip(whole.classes, sizes, strict=True)}
    return columns([left, _bars("Recognised, by class", recalls, amounts, name)])


def _precisions(scores: NDArray[Any], label: NDArray[Any], name: Callable[[int], str]) -> str:
    values, amounts = {}, {}
    for number in range(label.shape[1]):
        try:
            values[number] = voc_map(scores[:, [number]], label[:, [number]])
        except DataError:  # no image shows it
            continue
        amounts[number] = f"in {int((label[:, number] == 1).sum()):,}"
    return _bars("Average precision, by class", values, amounts, name)


def _bars(title: str, values: Mapping[int, float], amounts: Mapping[int, str], name: Callable[[int], str]) -> str:
    ordered = sorted(values, key=lambda number: (-values[number], number))
    cut = len(ordered) > 2 * _ENDS + 4
    parts = {f"{title}: best": ordered[:_ENDS], "Worst": ordered[-_ENDS:]} if cut else {title: ordered}
    html = []
    for heading, members in parts.items():
        rows = "".join(
            f'<tr><th scope="row">{escape(name(number))}</th>'
            f"<td>{bar(values[number], f'{name(number)}: {values[number]:.1%}')}</td>"
            f'<td>{values[number] * 100:.1f} % <span class="quiet">{escape(amounts[number])}</span></td></tr>'
            for number in members
        )
        html.append(f"<h4>{escape(heading)}</h4><table>{rows}</table>")
    return f'<div class="classes">{"".join(html)}</div>'
