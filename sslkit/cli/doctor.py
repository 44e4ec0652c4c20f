"""Show what a run will find on this machine; with --faults, break runs on purpose and see that nothing is lost.

Examples:
  sslkit doctor
  sslkit doctor --faults --runs /scratch/runs   (on the disk that the runs will use)
  sslkit doctor --json | jq '.readings[] | select(.problem != "")'

exit codes: 0 nothing would stop a run, 1 something would or a fault did harm, 2 a mistake
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sslkit.doctor.reading import Reading
    from sslkit.doctor.rows import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--faults", action="store_true", help="break small runs on purpose: a minute or two")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where runs will go; --faults breaks its runs there")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def main(arguments: argparse.Namespace) -> int:
    """Read the machine, and break runs on it if asked to."""
    from dataclasses import asdict

    from sslkit.doctor.environment import environment

    readings = environment(arguments.runs or Path("runs"))
    ready = not any(reading.stops for reading in readings)
    if not arguments.json:
        _show(readings)
    rows = _break(arguments.runs, quiet=arguments.json) if arguments.faults and ready else []
    if arguments.json:
        said = {"readings": [*map(asdict, readings)], "faults": [*map(asdict, rows)]}
        sys.stdout.write(json.dumps(said, indent=2) + "\n")
    return 0 if ready and all(row.passed for row in rows) else 1


def _show(readings: Sequence[Reading]) -> None:
    """Print what was read, section by section, a problem below what it is about."""
    from sslkit.text import one_line

    width = max(len(reading.name) for reading in readings)
    section = ""
    for reading in readings:
        if reading.section != section:
            section = reading.section
            sys.stdout.write(f"{section}\n")
        sys.stdout.write(f"  {one_line(reading.name):{width}}  {one_line(reading.text)}\n")
        if reading.problem:
            word = "error" if reading.stops else "warning"
            sys.stdout.write(f"  {'':{width}}  {word}: {one_line(reading.problem, 1000)}\n")


def _break(runs: Path | None, *, quiet: bool) -> list[Outcome]:
    """Make the faults in a new folder, which goes if all promises were kept."""
    import os
    import shutil
    import tempfile

    from rich.console import Console
    from rich.progress import track

    from sslkit.doctor.rows import ROWS, outcomes
    from sslkit.doctor.trials import Bench
    from sslkit.errors import RunError
    from sslkit.run_folder import require_writable
    from sslkit.text import one_line

    if os.name == "nt":
        raise RunError("--faults sends signals that Windows does not have; try it in WSL")
    place = runs or Path(tempfile.gettempdir())
    require_writable(place)
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sslkit-doctor-", dir=place.absolute()))
    errors = Console(stderr=True)
    silent = not errors.is_terminal
    try:
        with Bench(folder) as bench:
            made = outcomes(bench)
            rows = list(track(made, "breaking runs", len(ROWS), console=errors, transient=True, disable=silent))
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not quiet:
        _show_outcomes(rows)
    if all(row.passed for row in rows):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stderr.write(f"what the runs left and said is in {one_line(folder)}\n")
    return rows


def _show_outcomes(rows: Sequence[Outcome]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sslkit.text import one_line

    table = Table("row", "fault", "promise", "what happened", "", "seconds", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        verdict = Text("PASS", "green") if row.passed else Text("FAIL", "bold red")
        words = (Text(one_line(text, 1000)) for text in (row.fault, row.promise, row.happened))
        table.add_row(str(row.number), *words, verdict, f"{row.seconds:.1f}")
    console = Console(highlight=False)
    console.width = max(console.width, 100)
    console.print(table)
