"""Pretrain and evaluate what a recipe says.

Examples:
  sslkit run recipes/simclr_quickstart.toml
  sslkit run recipes/simclr_cifar10.toml --data-root /data pretrain.batch_size=1024
  sslkit run recipes/simclr_folder.toml --data-root ~/photos --into runs/photos   (again: goes on)

exit codes: 0 done, 2 a mistake in what was asked, 75 stopped by a signal and ready to go on
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, help="the recipe, a TOML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, such as pretrain.epochs=10")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where run folders go (runs)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="this very run folder: create it or go on with it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that load images (chosen by device)")
    parser.add_argument("--compile", action="store_true", help="compile the views: seconds once, faster ever after")
    parser.add_argument("--deterministic", action="store_true", help="refuse operations that vary from run to run")


def main(arguments: argparse.Namespace) -> int:
    """Run the recipe."""
    from sslkit.recipe.resolve import load_recipe
    from sslkit.run_folder import require_writable

    require_writable(arguments.into or arguments.runs)  # before seconds go into loading libraries
    recipe = load_recipe(arguments.recipe, arguments.overrides)

    from sslkit.engine.run import run

    console = recipe.registry.get("callback", "builtin.console").load()()
    info = run(
        recipe,
        data_root=arguments.data_root,
        runs=arguments.runs,
        into=arguments.into,
        device=arguments.device,
        workers=arguments.workers,
        compile_views=arguments.compile,
        deterministic=arguments.deterministic,
        watchers=[console],
    )
    if info.complete:
        console.say(f"{info.folder} is complete: its scores are in {info.folder / 'summary.json'}")
    return 0


def count(text: str) -> int:
    """Read a number of processes from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of processes, 0 or more")
    return int(text)
