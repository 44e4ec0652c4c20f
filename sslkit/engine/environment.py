"""The machine that a run is on: which device it takes, and what `environment.json` says of it.

Enters: a device's name, a recipe. Leaves: a device; a file in the run's folder. Called by `run`, and by commands that
need a device.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import torch

import sslkit
from sslkit.engine.distributed import World, world_size
from sslkit.errors import RunError
from sslkit.recipe.plan import Recipe
from sslkit.run_folder import read_json, write_json
from sslkit.text import safe_text

logger = logging.getLogger("sslkit")

# On which the last bits depend.
_ROUNDING = ("torch", "processes", "threads", "cpu", "device_name", "compiled_views")


def choose_device(name: str, world: World | None = None) -> torch.device:
    """Return the device of a name; `auto` takes CUDA if there is one, else the CPU.

    Of several processes on a machine, each gets the CUDA device of its own number.

    Raises:
        RunError: There is no such device here, or not one for each process.
    """
    if world is not None and world.size > 1:
        return _one_of_several(name, world)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"--device {name}: is no device; say auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError(f"--device {name}: this machine or this torch has no CUDA; say --device auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RunError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RunError(f"--device {name}: this machine has no MPS; say --device auto or cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise RunError(f"--device {name}: say auto, cpu, cuda, cuda:1 or mps")
    if device == torch.device("cuda"):
        return torch.device("cuda", torch.cuda.current_device())
    return device


def cuda_devices() -> int:
    """Return how many CUDA devices this process may use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _one_of_several(name: str, world: World) -> torch.device:
    device = choose_device(name)
    if device.type != "cuda":
        return device
    if ":" in name:
        raise RunError(f"--device {name}: {world.size} processes take a device each; say --device cuda")
    if world.local_size > torch.cuda.device_count():
        raise RunError(
            f"{world.local_size} processes, but {torch.cuda.device_count()} CUDA devices; start as many, or say "
            "--device cpu"
        )
    return torch.device("cuda", world.local_rank)


def plugin_versions(recipe: Recipe) -> dict[str, str]:
    """Return the version of each distribution whose components a recipe names; files have none."""
    components = (choice.component for choice in recipe.choices())
    owners = sorted({component.owner for component in components if not component.name.startswith("local.")})
    return dict(owner.rsplit(" ", 1) for owner in owners)


def _record_sha256(name: str) -> str | None:
    """Return the digest of what pip recorded of a distribution's files, each with its own digest."""
    try:
        record = distribution(name).read_text("RECORD")
    except PackageNotFoundError:  # sslkit itself works without metadata
        return None
    return None if record is None else hashlib.sha256(record.encode()).hexdigest()


def note_environment(folder: Path, recipe: Recipe, device: torch.device, *, compiled_views: bool) -> None:
    """Write `environment.json`; warn if a run goes on where its bits may come out otherwise."""
    path = folder / "environment.json"
    now = {
        "sslkit": sslkit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "plugins": sorted({choice.component.owner for choice in recipe.choices()}),
        "plugin_records": {name: _record_sha256(name) for name in plugin_versions(recipe)},
        "packages": {name: version(name) for name in ("timm", "numpy", "pillow", "safetensors")},
        "device": device.type,
        "processes": world_size(),
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "compiled_views": compiled_views,
        "commit": _commit(),
        "command": [safe_text(word) for word in sys.argv],
    }
    before = read_json(path)
    moved = [key for key in _ROUNDING if before is not None and before.get(key) != now[key]]
    if moved and before is not None:
        changes = (f"{key.replace('_', ' ')} {now[key]}, was {before.get(key)}" for key in moved)
        logger.warning("going on with %s: the last bits may differ", "; ".join(changes))
    write_json(path, now)


def _commit() -> str | None:
    """Return the commit of the checkout that sslkit is in, None if it is in none."""
    root = Path(sslkit.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()
