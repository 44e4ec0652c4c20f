"""Rows of a report as text for other programs: CSV, Markdown, JSON.

Enters: rows. Leaves: text. Called by `sslkit report`. Names come from outside: a cell is one line, and neither starts a
formula in a spreadsheet nor another column in Markdown.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sslkit.studies.rows import Row
from sslkit.studies.wording import shown_interval, shown_value
from sslkit.text import one_line

_HEADINGS: Final = ("run", "folder", "status", "what", "metric", "score", "95 % interval", "n")

_FORMULA: Final = ("=", "+", "-", "@")  # by which spreadsheets know one
_CELL: Final = 1000  # characters


def place(row: Row) -> str:
    """Return a row's folder; of several the one they are in, and how many.

    Args:
        row: Of a report.
    """
    if len(row.folders) == 1:
        return str(row.folders[0])
    return f"{Path(os.path.commonpath(row.folders))} ({len(row.folders)} runs)"


def csv_text(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a heading line; values are fractions.

    Args:
        rows: Of a report.
    """
    file = io.StringIO()
    records = [record(row) for row in rows]
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: plain_cell(value) for key, value in record.items()} for record in records)
    return file.getvalue()


def markdown_text(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table.

    Args:
        rows: Of a report.
    """
    lines = [_HEADINGS, ["---"] * len(_HEADINGS), *(map(escaped, _cells(row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def json_text(rows: Sequence[Row]) -> str:
    """Return the rows as a JSON array of objects with the same keys each.

    Args:
        rows: Of a report.
    """
    return json.dumps([record(row) for row in rows], indent=2) + "\n"


def record(row: Row) -> dict[str, Any]:
    """Return a row for programs: nothing rounded, None where nothing is known.

    Args:
        row: Of a report.
    """
    score = row.score
    named = ("evaluation", "setting", "data", "split", "features", "weights", "metric")
    low, high = row.interval or (None, None)
    return {
        "run": row.name,
        "folders": [str(folder) for folder in row.folders],
        "status": row.status,
        "reason": row.reason,
        **{key: None if score is None else getattr(score, key) for key in named},
        "value": row.value,
        "deviation": row.deviation,
        "seeds": row.seeds,
        "low": low,
        "high": high,
        "n": None if score is None else score.n,
    }


def _cells(row: Row) -> Sequence[object]:
    if row.score is None:
        return row.name, place(row), f"{row.status}: {row.reason}" if row.reason else row.status, *[""] * 5
    metric = row.score.metric
    seeds = f", {row.seeds} seeds" if row.seeds > 1 else ""
    value, interval = shown_value(metric, row.value, row.deviation), shown_interval(metric, row.interval)
    return row.name, place(row), row.status, row.score.title, metric, value + seeds, interval, row.score.n or ""


def plain_cell(value: Any) -> Any:
    """Return a value for CSV: text on one line that starts no formula in a spreadsheet.

    Args:
        value: Of a row.
    """
    if isinstance(value, list):
        value = "; ".join(value)
    if not isinstance(value, str):
        return value
    line = one_line(value, _CELL)
    return f"'{line}" if line.startswith(_FORMULA) else line


def escaped(cell: object) -> str:
    """Return a text for Markdown: one line without markup.

    Args:
        cell: Anything; `str()` is taken of it.
    """
    return re.sub(r"([\\|<&`*\[])", r"\\\1", one_line(cell, _CELL))
