"""The page of a study: what it is, how much of it is in, its charts beside the paper's, and every run.

Enters: a study in any state. Leaves: one HTML file that needs nothing else. Called by `write`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import sslkit
from sslkit.page import escape, page, table
from sslkit.studies import charts, report_facts
from sslkit.studies.study_report import svg
from sslkit.studies.study_report.charts import notes_of, panels_of
from sslkit.studies.study_report.essentials import recipe_of
from sslkit.studies.study_report.facts import facts_of, problems_of, runs_of
from sslkit.studies.study_report.grids import OURS, Chart
from sslkit.studies.study_report.layout import charts_of
from sslkit.studies.study_report.svg import inline
from sslkit.studies.study_report.tables import html_table, records

if TYPE_CHECKING:
    from sslkit.studies.study import Study

_STYLE: Final = """
dl.facts { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--accent); }
.numbers td, .numbers th, .runs td, .runs th { white-space: nowrap; padding-right: 1.2rem; }
/* Where a table goes on beyond an edge there is a shadow; what lies at the edge itself covers it. */
.scroll {
  background: linear-gradient(to right, var(--paper) 40%, transparent) left / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to right, var(--edge), transparent) left / 0.8rem 100% no-repeat scroll,
    linear-gradient(to left, var(--edge), transparent) right / 0.8rem 100% no-repeat scroll;
  --edge: color-mix(in srgb, var(--ink) 30%, transparent);
}
.notes p { margin: 0.2rem 0; font-size: 0.85rem; max-width: 60rem; }
"""
_ALL_STYLES: Final = _STYLE + charts.STYLE + report_facts.STYLE + svg.STYLE

_MOST_RUNS: Final = 2000  # of the table; more are in results.jsonl
_FEW_RUNS: Final = 30  # are shown at once


def study_page(study: Study, drawn: Mapping[str, str] | None = None) -> str:
    """Return the page of a study.

    Args:
        study: Finished or not.
        drawn: Names of the pictures that are written beside the page, with their digests, for the next report.
    """
    body = [f"<p>{escape(study.description)}</p>"] if study.description else []
    facts = facts_of(study)
    body.append(f'<p><span class="status">{escape(facts.pop("runs"))}</span></p>')
    items = (f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items() if text)
    body.append(f'<dl class="facts">{"".join(items)}</dl>')
    if recipe := recipe_of(study):
        told = "The recipe that all runs have in common, defaults filled in"
        body.append(f"<details><summary>{told}</summary><pre>{escape(recipe)}</pre></details>")
    if problems := problems_of(study):
        body += ["<h2>Failed runs</h2>", table(problems, ("run", "reason"))]
    for chart in charts_of(study):
        body += _section(chart)
    head, rows = runs_of(study)
    shown = f'<div class="runs">{table(rows[:_MOST_RUNS], head)}</div>'
    is_open = " open" if len(rows) <= _FEW_RUNS else ""
    body += ["<h2>Runs</h2>", f"<details{is_open}><summary>All {len(rows):,} of them</summary>{shown}</details>"]
    if len(rows) > _MOST_RUNS:
        body.append(f'<p class="quiet">The first {_MOST_RUNS:,} of {len(rows):,}; all are in results.jsonl.</p>')
    listed = escape(" ".join(f"{name}:{digest}" for name, digest in (drawn or {}).items()))
    made_by = f"sslkit {escape(sslkit.__version__)}. This page needs no other file and no network."
    body.append(f'<footer data-drawn="{listed}">{made_by}</footer>')
    return page(study.name, "\n".join(body), style=_ALL_STYLES)


def _section(chart: Chart) -> Iterator[str]:
    yield f"<h2>{escape(chart.title)}</h2>"
    if chart.kind == "table":
        for grid in chart.grids:
            title = ": ".join(part for part in (grid.title, grid.values) if part)
            yield (f"<h3>{escape(title)}</h3>" if title else "") + html_table(chart, grid)
    else:
        yield f'<div class="panels">{"".join(map(inline, panels_of(chart)))}</div>'
    notes = notes_of(chart)
    yield f'<div class="notes quiet">{"".join(f"<p>{escape(note)}</p>" for note in notes)}</div>'
    yield f"<details><summary>The numbers</summary>{_numbers(chart)}</details>"


def _numbers(chart: Chart) -> str:
    """Return every number behind a chart, with how sure it is."""
    found = records(chart)
    axes = list(dict.fromkeys(axis for _, record in found for axis in record["axes"]))
    head = [*axes, "of", "measure", "mean ± deviation", "seeds, 95 % interval", "reference", ""]
    rows = []
    for cell, record in found:
        paper = "" if cell.paper is None else cell.paper.shown(1)
        labels = [record["axes"].get(axis, "") for axis in axes]
        shown = cell.shown(2 if record["of"] == OURS else 1)
        rows.append([*labels, record["of"], record["measure"], shown, cell.sure, paper, cell.problem])
    told = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = ([row[column] for column in told] for row in rows)
    return f'<div class="numbers">{table(lines, [head[column] for column in told])}</div>'
