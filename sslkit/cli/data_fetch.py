"""Download a public set: verified against its published hash, safely unpacked, never over anything.

Examples:
  sslkit data fetch
  sslkit data fetch dtd --data-root /data

Without a name it lists the sets and their terms.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", help="the set, such as dtd")
    parser.add_argument("--data-root", type=Path, default=Path(), metavar="DIR", help="where it is put (here)")


def main(arguments: argparse.Namespace) -> int:
    """Fetch one set, or list all."""
    from sslkit.errors import DataError
    from sslkit.fetch import fetch
    from sslkit.sources import SOURCES, Source
    from sslkit.text import did_you_mean, one_line

    def megabytes(source: Source) -> str:
        return f"{sum(archive.megabytes for archive in source.archives):,} MB" if source.archives else "by hand"

    name: str | None = arguments.name
    if name is None:
        for known, source in SOURCES.items():
            sys.stdout.write(f"{known:<11} {megabytes(source):>9}  {source.terms}\n")
        return 0
    if name not in SOURCES:
        raise DataError(
            f"no set {one_line(name)!r}{did_you_mean(name, SOURCES)}; `sslkit data fetch` without a name lists them"
        )
    source = SOURCES[name]
    place = one_line(arguments.data_root / source.folder)
    if source.archives:
        sys.stdout.write(f"{name}: {megabytes(source)}; terms: {source.terms}; from {source.page}\n")
        sys.stdout.flush()
    fetched = fetch(name, source, arguments.data_root, _show if sys.stderr.isatty() else lambda *_: None)
    sys.stdout.write(
        f"{place}: {'there, verified and unpacked' if fetched else 'already there; nothing was fetched'}\n"
    )
    return 0


def _show(file: str, have: int, total: int) -> None:
    of_all = f" of {total / 1e6:,.1f}" if total else ""
    sys.stderr.write(f"\r{file}: {have / 1e6:,.1f}{of_all} MB" + ("\n" if have == total else ""))
    sys.stderr.flush()
