"""Find what is broken, doubled, leaked between splits, odd or private in a folder of images.

Examples:
  sslkit data audit ~/photos
  sslkit data audit /data/birds --output birds --strict   (for CI: exit code 1 on a broken or leaked image)

Writes audit.html, a page to look at, and audit.jsonl, one object a file. The folder itself is only read.
A folder directly below it named train, val, test or alike is a split, the folders below that are classes.

exit codes: 0 done, 1 with --strict if a file cannot be read or a picture is in two splits, 2 a mistake
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.cli.run import count

if TYPE_CHECKING:
    from rich.console import Console

    from sslkit.audit.audit import Audit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=Path, help="images, in any depth of folders")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where results go (audit-<name of the folder>)")
    parser.add_argument("--near", type=bits, metavar="N", help="bits of 64 by which near duplicates may differ (6)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that read images (one per core)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a file is broken or in two splits")


def main(arguments: argparse.Namespace) -> int:
    """Audit the folder."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sslkit.audit.audit import audit
    from sslkit.audit.duplicates import NEAR_BITS
    from sslkit.audit.report import html, json_lines
    from sslkit.errors import DataError
    from sslkit.run_folder import require_writable, write_text
    from sslkit.text import one_line, safe_text

    folder = arguments.folder.resolve()
    output = arguments.output or Path(f"audit-{folder.name}")
    if output.resolve().is_relative_to(folder):
        place = one_line(output)
        raise DataError(f"{place}: lies in the folder that is audited; say --output with a place outside of it")
    require_writable(output)
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=None)
        result = audit(
            arguments.folder,
            near_bits=NEAR_BITS if arguments.near is None else arguments.near,
            workers=arguments.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "audit.jsonl", json_lines(result))
    write_text(output / "audit.html", html(result, workers=arguments.workers))
    with contextlib.suppress(SystemExit):  # rich's answer to a reader that has gone
        _show(result, Console(highlight=False))
    sys.stdout.write(safe_text(f"{output / 'audit.html'} shows them; {output / 'audit.jsonl'} has every file\n"))
    return 1 if arguments.strict and result.serious else 0


def bits(text: str) -> int:
    """Read a number of bits from the command line."""
    if not text.isdecimal() or int(text) > 8:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of bits, 0 to 8")
    return int(text)


def _show(audit: Audit, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from sslkit.audit.report import overview
    from sslkit.text import one_line

    lines = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in overview(audit):
        lines.add_row(Text(name), Text(one_line(text)))
    lines.add_row()
    for finding in audit.findings:
        if finding.groups:
            number, groups = finding.num_files, len(finding.groups)
            text = f"{number:,}" + (f" in {groups:,} group{'s' * (groups > 1)}" if number > groups else "")
            example = one_line(audit.files[finding.groups[0][0]].path, 60)
            style = "bold red" if finding.serious else "bold"
            lines.add_row(Text(finding.title.lower(), style), Text(f"{text}, such as {example}"))
    clean = [finding.title.lower() for finding in audit.findings if not finding.groups]
    if clean:
        lines.add_row(Text("nothing found", "dim"), Text(", ".join(clean), "dim"))
    console.print(lines)
    if audit.statistics is not None:
        what = f" of {audit.statistics.split}" if audit.statistics.split else ""
        line = audit.statistics.normalize_line()
        console.print(Text(f"\nfor a recipe's data table, from all pixels{what}:\n  {line}\n"), soft_wrap=True)
