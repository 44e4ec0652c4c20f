"""A study for other programs and other pages: CSV, JSON, Markdown.

Enters: a study. Leaves: text. Called by `write` and `sslkit report`. Labels come from outside: a cell is one
line, and neither starts a formula in a spreadsheet nor another column in Markdown.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sslkit.studies.study_report.charts import notes_of, panels_of
from sslkit.studies.study_report.facts import facts_of, problems_of, runs_of
from sslkit.studies.study_report.layout import charts_of
from sslkit.studies.study_report.tables import Entry, entries, records
from sslkit.studies.tables import escaped, plain_cell

if TYPE_CHECKING:
    from sslkit.studies.study import Study


def study_csv(study: Study) -> str:
    """Return every number of a study's charts as CSV with a heading line; values are fractions.

    Args:
        study: Finished or not.
    """
    rows = [record for chart in charts_of(study) for _, record in records(chart)]
    axes = list(dict.fromkeys(axis for row in rows for axis in row["axes"]))
    flat = [_flat(row, axes) for row in rows]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(plain_cell, flat[0] if flat else ["chart"]))
    writer.writerows([plain_cell(value) for value in row.values()] for row in flat)
    return file.getvalue()


def _flat(row: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {key: row[key] for key in ("chart", "of", "measure")}
    # An axis may be called as a column of the table is.
    flat |= {f"axis {axis}" if axis in row else axis: row["axes"].get(axis, "") for axis in axes}
    rest = {key: value for key, value in row.items() if key not in ("chart", "of", "measure", "axes")}
    return flat | rest | {"samples": [str(sample) for sample in row["samples"]]}


def study_json(study: Study) -> str:
    """Return every number of a study's charts as a JSON array of objects with the same keys each.

    Args:
        study: Finished or not.
    """
    return json.dumps([record for chart in charts_of(study) for _, record in records(chart)], indent=2) + "\n"


def study_markdown(study: Study, pictures: Mapping[int, str] | None = None) -> str:
    """Return a study's report as Markdown.

    Args:
        study: Finished or not.
        pictures: Number of the chart, from 0, to the name of its SVG file beside the text.
    """
    parts = [f"# {escaped(study.name)}", *([escaped(study.description)] if study.description else [])]
    parts.append("\n".join(f"- {name}: {escaped(text)}" for name, text in facts_of(study).items() if text))
    if problems := problems_of(study):
        parts += ["## Failed", _table(("run", "reason"), problems)]
    for number, chart in enumerate(charts_of(study)):
        parts.append(f"## {escaped(chart.title)}")
        if pictures and number in pictures:
            parts.append(f"![{escaped(panels_of(chart)[0].summary)}]({pictures[number]})")
        for grid in chart.grids:
            head, lines = entries(chart, grid)
            caption = [f"**{escaped(grid.title)}**"] if grid.title else []
            unit = [f"{escaped(grid.values)}:"] if grid.values else []
            parts += [*caption, *unit, _table(head, [[_marked(entry) for entry in line] for line in lines], raw=True)]
        parts += [escaped(note) for note in notes_of(chart)]
    head, rows = runs_of(study)
    return "\n\n".join([*parts, "## Runs", _table(head, rows)]) + "\n"


def _marked(entry: Entry) -> str:
    text = escaped(entry.text)
    return {"bold": f"**{text}**", "italic": f"_{text}_"}.get(entry.look, text) if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], *, raw: bool = False) -> str:
    """Return a table; `raw` lines are Markdown already."""
    lines = [[escaped(name) for name in head], ["---"] * len(head)]
    lines += [[str(cell) if raw else escaped(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
