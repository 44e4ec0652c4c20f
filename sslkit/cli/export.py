"""Write pretrained weights for other libraries: timm, ONNX, torch.export, a folder for a model hub.

Examples:
  sslkit export runs/simclr_folder/20261124-153000 --to timm
  sslkit export runs/simclr_folder/20261124-153000 --to onnx -o for_production
  sslkit export backbone.safetensors --to huggingface-folder

Each is read back by its own library and compared before it counts; README.md in it is a model card. All formats, those
of plugins too: sslkit components exporter
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("weights", type=Path, help="a finished run's folder, or its backbone.safetensors")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="timm, onnx, pt2, huggingface-folder, or an exporter's full name",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="the folder to create (in the run's, named as the exporter)",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, mps (cpu)")


def main(arguments: argparse.Namespace) -> int:
    """Export the weights into a new folder."""
    from sslkit.errors import RunError
    from sslkit.registry.discover import Registry
    from sslkit.registry.options import call, check_options
    from sslkit.run_folder import require_writable
    from sslkit.text import one_line, safe_text

    name = arguments.to if "." in arguments.to else f"builtin.{arguments.to.replace('-', '_')}"
    component = Registry.discover().get("exporter", name)
    options, problems = check_options(component, {})
    if problems:
        key = ".".join(map(str, problems[0].key))
        raise RunError(f"--to {one_line(name)}: {key} {problems[0].reason}; export with it in a recipe's [[export]]")
    source = arguments.weights if arguments.weights.is_dir() else arguments.weights.parent
    target = arguments.output or source / name.rpartition(".")[2]
    if target.exists() or target.is_symlink():
        raise RunError(f"{target}: is there already; name a new folder: -o DIR")
    require_writable(target.parent)

    from sslkit.engine.environment import choose_device
    from sslkit.engine.weights import load_backbone

    exporter = call(component, options, {})  # what is not installed shows before the weights are read
    model = load_backbone(arguments.weights, device=str(choose_device(arguments.device)))
    for path in _exported(exporter, model, target):
        sys.stdout.write(safe_text(f"{path}\n"))
    return 0


def _exported(exporter: object, model: object, target: Path) -> list[Path]:
    """Let the exporter write beside the target, and put what it made in its place once it is verified."""
    assert callable(exporter)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.tmp-", dir=target.parent) as temporary:
        # Not the temporary folder itself, which nobody else may read.
        made = Path(temporary) / "export"
        made.mkdir()
        written: list[Path] = exporter(model, made)
        inside = list(made.iterdir())
        if len(inside) == 1 and inside[0].is_dir():  # a folder of its own, named as the exporter likes
            made = inside[0]
        shutil.move(made, target)
        return [target / path.relative_to(made) for path in written]
