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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, nargs="?", help="the recipe, a TOML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, such as pretrain.epochs=10")
    parser.add_argument("--build", action="store_true", help="also build the components and open the data")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument("--skip-absent", action="store_true", help="list evaluations whose data is not there")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of recipes with what is installed")


def main(arguments: argparse.Namespace) -> int:
    """Check the recipe, or print the schema."""
    if arguments.schema:
        return _print_schema()
    from sslkit.errors import RecipeError
    from sslkit.recipe.resolve import load_recipe
    from sslkit.text import safe_text

    if arguments.recipe is None:
        raise RecipeError("name a recipe, such as: sslkit check recipes/simclr_quickstart.toml")
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    names = ", ".join(dict.fromkeys(choice.component.name for choice in recipe.choices()))
    sys.stdout.write(safe_text(f"{arguments.recipe}: keys, types and ranges are good\ncomponents: {names}\n"))
    if arguments.build:
        for line in _built(recipe, arguments.data_root, skip_absent=arguments.skip_absent):
            sys.stdout.write(safe_text(line) + "\n")
    return 0


def _built(recipe: object, data_root: Path | None, *, skip_absent: bool) -> list[str]:
    from sslkit.engine.check import check_build
    from sslkit.recipe.plan import Recipe

    assert isinstance(recipe, Recipe)
    return check_build(recipe, data_root, skip_absent=skip_absent)


def _print_schema() -> int:
    import json

    from sslkit.recipe.schema import json_schema
    from sslkit.registry.discover import Registry

    schema = json_schema(Registry.discover())
    sys.stdout.write(json.dumps(schema, indent=1) + "\n")
    return 0
