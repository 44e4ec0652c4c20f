"""The commands, one file each. Nothing heavy is imported before a command runs: `sslkit --help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

import sslkit
from sslkit.text import one_line

COMMANDS: Final = (
    "run",
    "check",
    "preview",
    "evaluate",
    "sweep",
    "embed",
    "export",
    "report",
    "compare",
    "data",
    "plugins",
    "components",
    "new-plugin",
    "doctor",
)


class _Parser(argparse.ArgumentParser):
    """Says a mistake on one line, as everything else here does, and not below all flags that there are."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A shell expands ~ after a blank, but not after the = of --runs=~/here. pathlib's raises without a home.
        self.register("type", Path, lambda text: Path(os.path.expanduser(text)))  # noqa: PTH111

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message, 1000)}; see: {self.prog} --help\n")


def silence_stdout() -> None:
    """Let go of the standard output, whose reader has gone: nothing written after this fails."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run`, called with the parsed arguments."""
    top = _Parser(
        prog="sslkit",
        description="Self-supervised vision pretraining and evaluation, from plugins and recipes.",
        epilog="example: sslkit run recipes/simclr_quickstart.toml",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"sslkit {sslkit.__version__}")
    add_commands(top, COMMANDS)
    return top


def add_commands(parser: argparse.ArgumentParser, names: Sequence[str], *, prefix: str = "") -> None:
    """Add a subparser for each name, from the file `cli/<prefix><name>.py` (`_` for `-`): its docstring is the help.

    Args:
        parser: The command line's, or that of a command with actions of its own.
        names: As they are typed.
        prefix: Of the files' names.
    """
    what = "COMMAND" if not prefix else "ACTION"
    commands = parser.add_subparsers(dest=what.lower(), metavar=what, required=True)
    for name in names:
        module = import_module(f"sslkit.cli.{prefix}{name.replace('-', '_')}")
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
        if hasattr(module, "main"):
            command.add_argument("-v", "--verbose", action="store_true", help="show the traceback of an error")
            command.set_defaults(run=module.main)
