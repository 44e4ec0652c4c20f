"""Pretrain and evaluate what a recipe says.

Examples:
  sslkit run recipes/simclr_quickstart.toml
  sslkit run recipes/simclr_cifar10.toml --data-root /data pretrain.batch_size=1024
  sslkit run recipes/simclr_folder.toml --data-root ~/photos --into runs/photos   (again: goes on)
  sslkit run recipes/simclr_resnet50.toml --data-root /data --nproc 8 --retries 5
  sslkit run recipes/simclr_resnet50.toml --data-root /data --nproc 8 --slurm "gres=gpu:8 time=24:00:00"

exit codes: 0 done, 1 a crash, 2 a mistake in what was asked, 75 stopped by a signal and ready to go on
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sslkit.launch.meeting import Place
    from sslkit.recipe.plan import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", type=Path, help="the recipe, a TOML file")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes, such as pretrain.epochs=10"
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="what the recipe's folder keys are below")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where run folders go (runs)")
    parser.add_argument("--into", type=Path, metavar="DIR", help="this very run folder: create it or go on with it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that load images (chosen by device)")
    parser.add_argument("--compile", action="store_true", help="compile the views: seconds once, faster ever after")
    parser.add_argument("--deterministic", action="store_true", help="refuse operations that vary from run to run")
    parser.add_argument(
        "--skip-absent", action="store_true", help="leave out evaluations whose data is not there, and list them"
    )
    parser.add_argument("--nproc", type=positive, metavar="N", default=1, help="processes on this machine (1)")
    parser.add_argument(
        "--nodes", type=positive, metavar="N", default=1, help="machines, each with --nproc processes (1)"
    )
    parser.add_argument("--node-rank", type=count, metavar="R", help="number of this machine, from 0")
    parser.add_argument("--rendezvous", type=Path, metavar="DIR", help="fresh folder where several machines meet")
    parser.add_argument(
        "--start-timeout",
        type=seconds,
        metavar="S",
        default=300.0,
        help="seconds for processes to find each other (300)",
    )
    parser.add_argument(
        "--step-timeout", type=seconds, metavar="S", help="seconds for a step (120; no limit for one process)"
    )
    parser.add_argument("--retries", type=count, metavar="N", default=0, help="fresh starts after a crash (0)")
    parser.add_argument("--slurm", metavar="OPTIONS", help='submit it as a SLURM job: "partition=gpu time=24:00:00"')
    parser.add_argument("--exchange", type=Path, help=argparse.SUPPRESS)  # this is a rank of a launcher
    parser.add_argument("--fault", action="append", default=[], help=argparse.SUPPRESS)  # see sslkit.faults


def main(arguments: argparse.Namespace) -> int:
    """Run the recipe, here or in processes of its own."""
    from sslkit import faults
    from sslkit.launch.signals import ending_at_once
    from sslkit.run_folder import require_writable

    require_writable(arguments.into or arguments.runs)  # before seconds go into loading libraries
    for text in arguments.fault:
        faults.arm(text)
    many = arguments.nproc != 1 or arguments.nodes != 1 or arguments.retries or arguments.slurm is not None
    if arguments.exchange is None and (many or arguments.node_rank is not None or arguments.rendezvous is not None):
        return _launch(arguments)
    with ending_at_once():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    recipe = _recipe_of(arguments)

    from sslkit.engine.run import run

    console = recipe.installed.get("callback", "builtin.console").load()()
    info = run(
        recipe,
        data_root=arguments.data_root,
        runs=arguments.runs,
        into=arguments.into,
        device=arguments.device,
        workers=arguments.workers,
        compile_views=arguments.compile,
        deterministic=arguments.deterministic,
        skip_absent=arguments.skip_absent,
        watchers=[console],
        rendezvous=arguments.exchange,
        start_timeout=arguments.start_timeout,
        step_timeout=arguments.step_timeout,
    )
    if info.complete and os.environ.get("RANK", "0") == "0":
        scores = f": its scores are in {info.folder / 'summary.json'}" if info.results else ""
        console.say(f"{info.folder} is complete{scores}")
    return 0


def _recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Return the checked recipe; of the `evaluate` command, for the weights that it names."""
    from sslkit.recipe.evaluation import load_evaluation
    from sslkit.recipe.resolve import load_recipe

    weights = getattr(arguments, "weights", None)
    if weights is not None:
        return load_evaluation(arguments.recipe, weights, arguments.overrides)
    return load_recipe(arguments.recipe, arguments.overrides)


def _launch(arguments: argparse.Namespace) -> int:
    """Start processes that run it, or have SLURM start them."""
    from sslkit.errors import RunError

    if os.name != "posix":
        raise RunError("several processes, retries and SLURM need Linux or macOS; leave --nproc and --retries out")

    from sslkit.launch.batches import require_divisible
    from sslkit.launch.local import Launch, command_of, supervise
    from sslkit.recipe.merge import load_document

    place = _place(arguments)
    if not hasattr(arguments, "weights"):
        require_divisible(load_document(arguments.recipe, arguments.overrides), place.size)
    if arguments.slurm is not None:
        return _submit(arguments)
    launch = Launch(
        command_of(arguments.words),
        place,
        into=arguments.into,
        retries=arguments.retries,
        start_timeout=arguments.start_timeout,
        verbose=arguments.verbose,
    )
    return supervise(launch)


def _submit(arguments: argparse.Namespace) -> int:
    from sslkit.launch.slurm import submit
    from sslkit.text import safe_text

    recipe = _recipe_of(arguments)  # no typing error should wait in a queue
    told = submit(
        arguments.words,
        name=recipe.name,
        into=arguments.into,
        runs=arguments.runs,
        nodes=arguments.nodes,
        options=arguments.slurm,
    )
    sys.stdout.write(safe_text(told))
    return 0


def _place(arguments: argparse.Namespace) -> Place:
    """Return this machine among all, as the flags say."""
    from sslkit.errors import RunError
    from sslkit.launch.meeting import Place

    nodes, node, rendezvous = arguments.nodes, arguments.node_rank, arguments.rendezvous
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RunError("WORLD_SIZE is set: torchrun or the like has started this process; leave --nproc and so on out")
    if arguments.slurm is None and (nodes > 1 or node is not None or rendezvous is not None):
        if nodes == 1 or node is None or rendezvous is None:
            raise RunError("several machines need --nodes N, --node-rank R and --rendezvous DIR, all three on each")
        if node >= nodes:
            raise RunError(f"--node-rank {node}: with --nodes {nodes} it is 0 to {nodes - 1}")
    return Place(rendezvous, nodes, node or 0, arguments.nproc)


def count(text: str) -> int:
    """Read a whole number from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Read a time limit from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of seconds, above 0")
    return value
