"""Look at data, list it, or fetch it.

Examples:
  sslkit data audit ~/photos
  sslkit data index ~/photos --hash
  sslkit data fetch dtd --data-root /data
"""

from __future__ import annotations

import argparse
from typing import Final

from sslkit.cli import add_commands

ACTIONS: Final[tuple[str, ...]] = ("audit", "index", "fetch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions, one file `cli/data_<action>.py` each."""
    add_commands(parser, ACTIONS, prefix="data_")
