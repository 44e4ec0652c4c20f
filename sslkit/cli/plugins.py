"""List the installed plugins, and why one cannot be used.

Examples:
  sslkit plugins
  sslkit plugins simclr --traceback
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", help="show only this plugin, with its components")
    parser.add_argument("--traceback", action="store_true", help="show the whole traceback of a plugin that failed")


def main(arguments: argparse.Namespace) -> int:
    """Print one row per plugin."""
    from sslkit.errors import PluginError
    from sslkit.registry.discover import Registry
    from sslkit.text import did_you_mean, one_line, safe_text

    registry = Registry.discover()
    records = registry.records if arguments.name is None else registry.plugin(arguments.name)
    if not records:
        known = [record.namespace for record in registry.records]
        raise PluginError(f'there is no plugin "{arguments.name}"{did_you_mean(arguments.name, known)}')
    width = max(len(record.namespace) for record in records)
    owners = max(len(record.owner) for record in records)
    for record in records:
        what = f"{len(record.components)} components" if record.status == "ok" else ""
        text = "; ".join(filter(None, [what, record.reason]))
        line = f"{record.namespace:{width}}  {record.status:8}  {record.owner:{owners}}  {one_line(text, 1000)}"
        sys.stdout.write(safe_text(line).rstrip() + "\n")
        if arguments.name is not None:
            for component in record.components:
                sys.stdout.write(safe_text(f"  {component.kind:10} {component.name}  {component.summary}\n"))
        if arguments.traceback and record.traceback:
            sys.stdout.write(safe_text(record.traceback))
    return 0
