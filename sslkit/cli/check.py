"""Check a recipe without running it.

Examples:
  sslkit check my.toml                                keys, types, ranges, plugins
  sslkit check my.toml --build --data-root /data      also builds every component and opens the data
  sslkit check --schema > recipe.schema.json          the schema for editors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sslkit.recipe.plan import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, nargs="?", help="the recipe, a TOML file")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes, such as pretrain.epochs=10"
    )
    parser.add_argument("--build", action="store_true", help="also build the components and open the data")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument("--skip-absent", action="store_true", help="list evaluations whose data is not there")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of recipes with what is installed")


def main(arguments: argparse.Namespace) -> int:
    """Check the recipe, or print the schema."""
    if arguments.schema:
        return _print_schema()
    from sslkit.errors import RecipeError
    from sslkit.text import safe_text

    if arguments.recipe is None:
        raise RecipeError("name a recipe, such as: sslkit check recipes/simclr_quickstart.toml")
    recipes, remarks = _recipes(arguments)
    many = f"{len(recipes)} runs: " if len(recipes) > 1 else ""
    names = ", ".join(dict.fromkeys(choice.component.name for recipe in recipes for choice in recipe.choices()))
    sys.stdout.write(safe_text(f"{arguments.recipe}: {many}keys, types and ranges are good\ncomponents: {names}\n"))
    sys.stdout.write("".join(safe_text(f"note: {remark}\n") for remark in remarks))
    if arguments.build:
        from sslkit.engine.check import check_build

        said: dict[str, None] = {}  # what the runs of a study have in common, once
        for recipe in recipes:
            said |= dict.fromkeys(check_build(recipe, arguments.data_root, skip_absent=arguments.skip_absent))
        sys.stdout.write("".join(safe_text(line) + "\n" for line in said))
    return 0


def _recipes(arguments: argparse.Namespace) -> tuple[list[Recipe], Sequence[str]]:
    """Return the recipe, or those of all runs of a study, and what there is to remark on."""
    from sslkit.recipe.merge import load_document
    from sslkit.recipe.resolve import resolve
    from sslkit.recipe.sweep import load_sweep

    document = load_document(arguments.recipe, arguments.overrides)
    if "sweep" in document.tree:
        sweep = load_sweep(arguments.recipe, arguments.overrides)
        return [point.recipe for point in sweep.points], sweep.remarks
    return [resolve(document, arguments.recipe, arguments.overrides)], ()


def _print_schema() -> int:
    import json

    from sslkit.recipe.schema import json_schema
    from sslkit.registry.discover import Registry

    schema = json_schema(Registry.discover())
    sys.stdout.write(json.dumps(schema, indent=1) + "\n")
    return 0
