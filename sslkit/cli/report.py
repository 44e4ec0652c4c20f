"""Show the scores of runs, those of several seeds together, as a table, CSV, Markdown, JSON or a page.

Examples:
  sslkit report runs                          runs, and which studies there are
  sslkit report runs/simclr_quickstart/* --each
  sslkit report runs -o scores.csv
  sslkit report runs/simclr_quickstart -o scores.html
  sslkit report runs/my_temperatures

Runs that differ only in their seed are one row: mean, sample deviation and number of seeds. A single run has its 95 %
bootstrap interval. Unfinished and broken runs are rows with their status.

Of a study, the folder that sslkit sweep has written, it writes report.html, report.md, report.csv and a picture of each
chart into the folder, finished or not; with -o or --format just that one. To have other charts, change the recipe's
[[sweep.report]] and run sslkit sweep again: what has finished is not run again.

exit codes: 0 done, 2 a mistake
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sslkit.studies.rows import Row
    from sslkit.studies.study import Study

_FORMATS: Final = {".txt": "table", ".csv": "csv", ".md": "markdown", ".html": "html", ".json": "json"}
_WIDE: Final = 250  # columns of a file or pipe: nobody's window


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="a run's folder, one that holds runs, or a study's"
    )
    parser.add_argument("--each", action="store_true", help="a row for each run and seed")
    parser.add_argument(
        "--format", choices=_FORMATS.values(), help="what to write (by the ending of FILE; a table on the terminal)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a file")


def main(arguments: argparse.Namespace) -> int:
    """Collect the runs and write their rows."""
    from sslkit.errors import RunError
    from sslkit.run_folder import require_writable
    from sslkit.studies.collect import read_runs
    from sslkit.studies.rows import gathered
    from sslkit.studies.study import is_study
    from sslkit.studies.tables import csv_text, json_text, markdown_text
    from sslkit.text import counted

    output = arguments.output
    kind = arguments.format or "table"
    if output is not None:
        if output.is_dir():
            raise RunError(f"{output}: is a folder; name a file in it, such as {output / 'report.html'}")
        kind = arguments.format or _FORMATS.get(output.suffix.lower())
        if kind is None:
            raise RunError(f"{output}: end its name in one of {', '.join(_FORMATS)}, or say --format")
        require_writable(output.parent)
    if kind == "html" and arguments.each:
        raise RunError("--each is for tables: a page shows every run and the mean; leave it out")
    if any(map(is_study, arguments.runs)):
        return _report_study(arguments, kind)
    studies, others = _apart(arguments.runs)
    if not others and (output is not None or kind != "table"):
        raise RunError(f"{arguments.runs[0]}: holds studies and no other run; such as: sslkit report {studies[0]}")
    runs = read_runs(others)
    rows = gathered(runs, each=arguments.each)
    if kind == "table" and output is None:
        show(itertools.chain(parts(rows), map(_outlined, studies)))
        return 0
    if kind == "html":
        from sslkit.studies.report_page import report_page

        text = report_page([run.folder for run in runs], title="Report of " + ", ".join({run.name: 0 for run in runs}))
    else:
        writers = {"csv": csv_text, "markdown": markdown_text, "json": json_text}
        text = _text(parts(rows)) if kind == "table" else writers[kind](rows)
    left_out = " that are part of no study" if studies else ""
    _write(text, output, counted(len(runs), "run") + left_out)
    return 0


def _apart(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the studies in folders, and the folders that hold, or should hold, runs that are part of none."""
    from sslkit.studies.collect import is_run
    from sslkit.studies.study import is_study

    studies, others = list[Path](), list[Path]()
    for path in paths:
        found = sorted(folder for folder in path.glob("*") if is_study(folder))
        studies += found
        if not found or any(is_run(folder) for pattern in ("*", "*/*") for folder in path.glob(pattern)):
            others.append(path)
    return studies, others


def _outlined(study: Path) -> str:
    """Return what a study is and how to see it, in a line."""
    from sslkit.errors import RunError
    from sslkit.studies.study import read_study
    from sslkit.studies.study_report.facts import progress_of
    from sslkit.text import one_line

    try:
        return f"{one_line(study)}: a study, {progress_of(read_study(study))}; see: sslkit report {one_line(study)}"
    except RunError as error:
        return one_line(error)


def _write(text: str, output: Path | None, what: str) -> None:
    """Write a file and say of what it is, or write to the terminal."""
    from sslkit.run_folder import write_text
    from sslkit.text import safe_text

    if output is None:
        sys.stdout.write(text)
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)
    sys.stdout.write(safe_text(f"{output}: {what}\n"))


def _report_study(arguments: argparse.Namespace, kind: str) -> int:
    """Write the report of a study: all of it into its folder, or what was asked for."""
    from sslkit.errors import RunError
    from sslkit.studies.study import read_study
    from sslkit.studies.study_report.facts import progress_of
    from sslkit.studies.study_report.page import study_page
    from sslkit.studies.study_report.text import study_csv, study_json, study_markdown
    from sslkit.studies.study_report.write import write_study_report

    if len(arguments.runs) > 1:
        raise RunError("a study is reported alone: name its folder and no other")
    if arguments.each:
        raise RunError("--each is for runs: a study's page lists every run; leave it out")
    study = read_study(arguments.runs[0])
    if arguments.output is None and arguments.format is None:
        written = write_study_report(study)  # before anything is shown, whose reader may go
        show(study_parts(study))
        for path in written:
            sys.stdout.write(f"{path}\n")
        sys.stdout.write("for other charts, change [[sweep.report]] and run sslkit sweep: it runs nothing twice\n")
        return 0
    writers = {"csv": study_csv, "markdown": study_markdown, "json": study_json, "html": study_page}
    text = _text(study_parts(study)) if kind == "table" else writers[kind](study)
    _write(text, arguments.output, progress_of(study))
    return 0


def study_parts(study: Study) -> Iterator[Table | str]:
    """Return what is known of a study and a table for each panel of its charts."""
    from rich.table import Table

    from sslkit.studies.study_report.charts import notes_of
    from sslkit.studies.study_report.facts import problems_of, progress_of
    from sslkit.studies.study_report.layout import charts_of
    from sslkit.studies.study_report.tables import entries
    from sslkit.text import one_line

    yield f"{one_line(study.name)}: {progress_of(study)}"
    for run, reason in problems_of(study):
        yield f"  failed: {run}: {reason}"
    for chart in charts_of(study):
        for grid in chart.grids:
            yield ""
            yield ", ".join(part for part in (chart.title, grid.title, grid.values) if part)
            head, lines = entries(chart, grid)
            table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
            for name in head:
                table.add_column(next(plain(name)))
            for line in lines:
                styles = {"bold": "bold", "italic": "italic", "quiet": "dim", "": ""}
                table.add_row(*(next(plain(entry.text, style=styles[entry.look])) for entry in line))
            yield table
        yield from notes_of(chart)
    yield ""


def parts(rows: Sequence[Row]) -> Iterator[Table | str]:
    """Return a heading and a table for each run, or group of runs that differ only in their seed."""
    from itertools import groupby

    from rich.table import Table

    from sslkit.studies.tables import place
    from sslkit.studies.wording import shown_interval, shown_value
    from sslkit.text import one_line

    titles = [one_line(row.score.title) for row in rows if row.score is not None]
    for head, group in groupby(rows, lambda row: (row.name, place(row), row.status)):
        yield ", ".join(map(one_line, head))
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(min_width=min(2 + max(map(len, titles), default=0), 36))
        table.add_column()
        table.add_column(justify="right", min_width=14)
        table.add_column(justify="right", min_width=14)
        table.add_column(justify="right")
        for row in group:
            if row.score is None:
                yield f"  no scores{': ' * bool(row.reason)}{one_line(row.reason, 1000)}"
                continue
            metric = row.score.metric
            sure = f"{row.seeds} seeds" if row.seeds > 1 else shown_interval(metric, row.interval)
            amount = "" if row.score.n is None else f"n = {row.score.n}"
            value = shown_value(metric, row.value, row.deviation)
            table.add_row(*plain("  " + row.score.title, metric, value, sure, amount))
        yield table
        yield ""


def plain(*cells: object, style: str = "") -> Iterator[Text]:
    """Return cells that may say anything, safe to print and never taken for markup."""
    from rich.text import Text

    from sslkit.text import safe_text

    return (Text(safe_text(cell).replace("\n", " "), style) for cell in cells)


def show(parts: Iterable[Table | str]) -> None:
    """Print tables and lines: on a terminal in its width, and otherwise wide, so that no line is broken."""
    from rich.console import Console

    with contextlib.suppress(SystemExit):  # rich's answer to a reader that has gone; what is left to do may matter
        _print(parts, Console(highlight=False, markup=False, emoji=False))


def _print(parts: Iterable[Table | str], console: Console) -> None:
    if not console.is_terminal:
        console.width = _WIDE
    for part in parts:
        console.print(part)


def _text(parts: Iterable[Table | str]) -> str:
    import io

    from rich.console import Console

    file = io.StringIO()
    _print(parts, Console(file=file, force_terminal=False, highlight=False, markup=False, emoji=False))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
