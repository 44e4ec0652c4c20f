"""Write a package with one component, ready to install, check and train.

Examples:
  sslkit new-plugin sphere
  sslkit new-plugin sphere --component align_uniform
  sslkit new-plugin textures --kind data --into ~/code/textures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", help="first part of its components' names; the package is called sslkit-NAME")
    parser.add_argument("--kind", default="objective", help="of its component: objective (default), views, method, ...")
    parser.add_argument("--component", metavar="NAME", help="the component's name and file (default: the example's)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="a new or empty folder (default: sslkit-NAME, here)")


def main(arguments: argparse.Namespace) -> int:
    """Write the package and say what to type next."""
    import shlex

    from sslkit.errors import PluginError
    from sslkit.registry.register import KINDS
    from sslkit.scaffold import write_plugin
    from sslkit.text import did_you_mean, safe_text

    if arguments.kind not in KINDS:
        advice = did_you_mean(arguments.kind, KINDS) or f"; there are {', '.join(KINDS)}"
        raise PluginError(f'there is no kind "{arguments.kind}"{advice}')
    folder, files = write_plugin(arguments.name, arguments.kind, component=arguments.component, into=arguments.into)
    lines = [
        f"{folder}",
        *(f"  {path.relative_to(folder)}" for path in files),
        "next:",
        f"  python -m pip install -e {shlex.quote(f'{folder}[test]')}",
        f"  python -m pytest {shlex.quote(str(folder))}",
        f"  sslkit run {shlex.quote(str(folder / 'recipe.toml'))}",
    ]
    sys.stdout.write(safe_text("\n".join(lines)) + "\n")
    return 0
