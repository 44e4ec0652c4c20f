"""Compare runs: is one better than another on the same test images, and how do their recipes differ?

Examples:
  sslkit compare runs/simclr_quickstart/20261125-013706 runs/simclr_quickstart/20261125-094210
  sslkit compare runs/a runs/b runs/c --json | jq .comparisons

Each run is tested against the best in every evaluation that they share: by a permutation test (100,000 swaps of the two
runs' predictions) and McNemar's exact test. A run is worse if the permutation test says so at p <= 0.05, and tied
otherwise. The tests speak of the test images; how much training varies, several seeds tell: see sslkit report.
Evaluations of one name are paired by their options; where these differ all the same, a line says in what.

exit codes: 0 compared, 1 nothing could be tested, 2 a mistake
"""

from __future__ import annotations

import argparse
import json
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sslkit.cli.report import plain, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.table import Table

    from sslkit.studies.collect import Run
    from sslkit.studies.difference import Comparison

_CELL: Final = 60  # characters of a recipe's value
_COLUMNS: Final = {"score": 14, "95 % interval": 14, "to the best": 11, "p (swaps)": 9, "p (McNemar)": 11}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of two or more runs")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def main(arguments: argparse.Namespace) -> int:
    """Test the runs against each other."""
    from sslkit.errors import RunError
    from sslkit.studies.collect import read_runs
    from sslkit.studies.difference import compare, recipe_difference

    runs = read_runs(arguments.runs)
    names = string.ascii_uppercase[: len(runs)]
    if not 2 <= len(runs) <= len(string.ascii_uppercase):
        raise RunError(f"{len(runs)} run{'s' * (len(runs) > 1)} to compare: name 2 to 26 runs' folders")
    comparisons = compare(runs, names)
    if not comparisons:
        having = "; ".join(f"{name} {_has(run)}" for name, run in zip(names, runs, strict=True))
        raise RunError(f"the runs share no evaluation: {having}")
    differences = recipe_difference(runs)
    if arguments.json:
        sys.stdout.write(json.dumps(_plain(names, runs, comparisons, differences), indent=2, default=str) + "\n")
    else:
        show([*_legend(names, runs), "", *_scores(names, comparisons), *_recipes(names, differences)])
    return 0 if any(not comparison.problem for comparison in comparisons) else 1


def _has(run: Run) -> str:
    """Say which evaluations a run has."""
    from sslkit.text import one_line

    found = dict.fromkeys(one_line(score.evaluated) for score in run.scores)
    return f"has {', '.join(found)}" if found else f"has none ({run.status})"


def _legend(names: str, runs: Sequence[Run]) -> Iterator[str]:
    from sslkit.text import one_line

    for name, run in zip(names, runs, strict=True):
        yield f"{name}  {one_line(run.folder)}: {one_line(run.name)}, seed {run.seed}, {one_line(run.status)}"


def _scores(names: str, comparisons: Sequence[Comparison]) -> Iterator[Table | str]:
    """Return a heading and a table for each comparison, their columns below each other."""
    from rich.table import Table

    from sslkit.studies.wording import shown_interval, shown_number, shown_value
    from sslkit.text import one_line

    for comparison in comparisons:
        metric = comparison.score.metric
        yield f"{one_line(comparison.score.title)}: {one_line(metric)}"
        first = comparison is comparisons[0]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=first)
        table.add_column("", min_width=3)
        for heading, width in _COLUMNS.items():
            table.add_column(heading, justify="right", min_width=width)
        table.add_column("")
        for entry in comparison.entries:
            style = "bold" if entry.verdict in ("best", "tied") else ""
            value = shown_value(metric, entry.value, entry.deviation)
            difference = shown_number(metric, entry.difference) if entry.difference else ""
            tests = [_probability(entry.p), _probability(entry.mcnemar)]
            words = (f"  {names[entry.run]}", value, shown_interval(metric, entry.interval), difference, *tests)
            other = "" if entry.score.weights == comparison.score.weights else f"{entry.score.weights} weights"
            table.add_row(*plain(*words, ", ".join(filter(None, (entry.verdict, other))), style=style))
        yield table
        if comparison.options:
            yield f"  different protocols: {'; '.join(_different(names, comparison))}"
        if comparison.problem:
            yield f"  not tested: {one_line(comparison.problem, 1000)}"
        yield ""


def _different(names: str, comparison: Comparison) -> Iterator[str]:
    """Say in which options the evaluations themselves differ."""
    from sslkit.text import one_line

    for name, values in comparison.options.items():
        each = zip(comparison.entries, map(_shown_option, values), strict=True)
        yield f"{one_line(name)} is {', '.join(f'{value} in {names[entry.run]}' for entry, value in each)}"


def _shown_option(value: Any) -> str:
    from sslkit.text import one_line

    return "absent" if value is None else one_line(json.dumps(value, default=str, ensure_ascii=False), _CELL)


def _probability(p: float | None) -> str:
    return "" if p is None else f"{p:.4f}" if p >= 0.0005 else f"{p:.0e}"


def _recipes(names: str, differences: Mapping[str, Sequence[Any]]) -> Iterator[Table | str]:
    from rich.table import Table

    from sslkit.text import one_line

    if not differences:
        yield "the recipes say the same, but perhaps where data lies"
        return
    table = Table("recipe", *names, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for key, values in differences.items():
        table.add_row(*plain(one_line(key), *map(_shown_option, values)))
    yield table


def _plain(
    names: str, runs: Sequence[Run], comparisons: Sequence[Comparison], differences: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """Return the comparison for programs."""
    what = ("evaluation", "setting", "data", "split", "features", "weights", "metric", "n")
    numbers = ("value", "deviation", "interval", "difference", "p", "mcnemar", "verdict")
    return {
        "runs": {
            name: {"folder": str(run.folder), "recipe": run.name, "seed": run.seed, "status": run.status}
            for name, run in zip(names, runs, strict=True)
        },
        "comparisons": [
            {key: getattr(comparison.score, key) for key in what}
            | {"problem": comparison.problem, "options": _by_name(names, comparison)}
            | {
                "runs": {
                    names[entry.run]: {key: getattr(entry, key) for key in numbers} | {"weights": entry.score.weights}
                    for entry in comparison.entries
                }
            }
            for comparison in comparisons
        ],
        "recipe": {key: dict(zip(names, values, strict=True)) for key, values in differences.items()},
    }


def _by_name(names: str, comparison: Comparison) -> dict[str, dict[str, Any]]:
    having = [names[entry.run] for entry in comparison.entries]
    return {option: dict(zip(having, values, strict=True)) for option, values in comparison.options.items()}
