"""Write the features of your own images to a file.

Examples:
  sslkit embed runs/simclr_folder/20261124-153000 ~/photos -o features.npz
  sslkit embed backbone.safetensors ~/photos -o features.npz --device cuda

The file holds `paths` [n], `h` [n, D] and, if the weights have a projection head, `z` [n, P]:
  import numpy; features = numpy.load("features.npz")["h"]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sslkit.cli.run import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("weights", type=Path, help="a finished run's folder, or its backbone.safetensors")
    parser.add_argument("folder", type=Path, help="images, in any depth of folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .npz file to write")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that load images (chosen by device)")


def main(arguments: argparse.Namespace) -> int:
    """Embed the folder's images."""
    from sslkit.errors import RunError
    from sslkit.index import find_images
    from sslkit.run_folder import require_writable
    from sslkit.text import safe_text

    if arguments.output.suffix != ".npz":
        raise RunError(f"{arguments.output}: the file's name should end in .npz")
    if arguments.output.is_dir():
        raise RunError(f"{arguments.output}: is a folder; name a file in it: {arguments.output / 'features.npz'}")
    require_writable(arguments.output.parent)
    find_images(arguments.folder)  # a wrong folder shows before libraries load

    import numpy as np

    from sslkit.engine.environment import choose_device
    from sslkit.engine.features import embed_folder
    from sslkit.engine.weights import load_backbone

    device = choose_device(arguments.device)
    model = load_backbone(arguments.weights, device=str(device), workers=arguments.workers)
    embedding = embed_folder(model, arguments.folder)
    arrays = {"paths": np.array(embedding.paths), "h": embedding.h}
    if embedding.z is not None:
        arrays["z"] = embedding.z
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_name(f".{arguments.output.name}.tmp.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(arguments.output)
    for line in embedding.bad:
        sys.stderr.write(safe_text(f"left out: {line}\n"))
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    sys.stdout.write(safe_text(f"{arguments.output}: {shapes}\n"))
    return 0
