"""Evaluate weights of any origin with the evaluations of a recipe.

Examples:
  sslkit evaluate runs/simclr_cifar10/20261124-153000 recipes/evaluate/transfer_12.toml --data-root /data --skip-absent
  sslkit evaluate timm:resnet50.a1_in1k recipes/simclr_resnet50.toml --data-root /data
  sslkit evaluate checkpoint.pth recipes/simclr_resnet50.toml --data-root /data backbone.input_size=224
  sslkit evaluate random recipes/simclr_resnet50.toml --data-root /data backbone.input_size=224

Of a recipe that pretrains only the [[evaluate]] tables are run; they use its data, and its backbone for a bare state
dict. Results go to a run folder of their own, as with `sslkit run`.
"""

from __future__ import annotations

import argparse

from sslkit.cli import run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("weights", help='a run, a weights file, a timm folder, timm:NAME, or "random"')
    run.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the recipe's evaluations on the weights."""
    return run.main(arguments)
