"""The commands, one file each. Nothing heavy is imported before a command runs: `sslkit --help` answers at once."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Final

import sslkit

COMMANDS: Final = ("run", "check", "embed", "plugins", "components")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run`, called with the parsed arguments."""
    top = argparse.ArgumentParser(
        prog="sslkit",
        description="Self-supervised vision pretraining and evaluation, from plugins and recipes.",
        epilog="example: sslkit run recipes/simclr_quickstart.toml",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"sslkit {sslkit.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"sslkit.cli.{name}")
        summary, _, rest = (module.__doc__ or "").partition("\n\n")
        command = commands.add_parser(
            name,
            help=summary.rstrip("."),
            description=summary,
            epilog=rest.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.main)
    return top
