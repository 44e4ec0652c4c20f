"""Show the views that pretraining will see.

Examples:
  sslkit preview recipes/simclr_quickstart.toml
  sslkit preview recipes/simclr_folder.toml --data-root ~/photos --indices 0,5,9 --epoch 3
  sslkit preview recipes/simclr_quickstart.toml pretrain.views.colour_strength=0.25 --histograms -o weaker

The last one writes weaker.png and weaker.html, with histograms of intensity, and weaker.svg, the two panels of figure 6
of Chen et al. 2020.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

_MOST_IMAGES: Final = 100  # a page of more is slow to open


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, help="the recipe, a TOML file")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="changes, such as seed=1")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument("--images", type=_images, default=8, metavar="N", help="how many images (8)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--first", type=_number, metavar="INDEX", help="images from this one on (spread over all)")
    which.add_argument("--indices", type=_indices, metavar="I,J,...", help="these very images, such as 0,5,9")
    parser.add_argument("--epoch", type=_number, default=0, metavar="E", help="the epoch, counted from 0 (0)")
    parser.add_argument(
        "--histograms",
        action="store_true",
        help="also histograms, with and without colour operations, and PREFIX.svg of them",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("preview"), metavar="PREFIX", help="PREFIX.png, PREFIX.html (preview)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the picture and the page."""
    from sslkit.recipe.resolve import load_viewing
    from sslkit.run_folder import require_writable
    from sslkit.text import safe_text

    prefix: Path = arguments.output
    if prefix.suffix in (".png", ".html", ".svg"):
        prefix = prefix.with_suffix("")
    if prefix.is_dir():
        prefix /= "preview"
    require_writable(prefix.parent)  # before seconds go into loading libraries
    recipe = load_viewing(arguments.recipe, arguments.overrides)

    from sslkit.engine.preview import preview
    from sslkit.engine.preview_page import write_preview

    shown = preview(
        recipe,
        data_root=arguments.data_root,
        epoch=arguments.epoch,
        indices=arguments.indices,
        first=arguments.first,
        num_images=arguments.images,
        histograms=arguments.histograms,
    )
    for path in write_preview(shown, prefix):
        sys.stdout.write(safe_text(f"{path}\n"))
    return 0


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number, 0 or more")
    return int(text)


def _images(text: str) -> int:
    if not 1 <= (number := _number(text)) <= _MOST_IMAGES:
        raise argparse.ArgumentTypeError(f"should be from 1 to {_MOST_IMAGES}, got {number}")
    return number


def _indices(text: str) -> list[int]:
    indices = [_number(part.strip()) for part in text.split(",")]
    _images(str(len(indices)))
    return indices
