"""How long a command takes to answer: `python benchmarks/startup.py`.

Goals: `--help` at most 0.3 s and `plugins` at most 0.5 s, neither importing torch; `check` of a recipe at most 1 s more
than importing torch and the libraries of the components that the recipe names.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from common import report, spread

ROUNDS = 7
RECIPE = Path(__file__).parents[1] / "recipes" / "simclr_quickstart.toml"
SSLKIT = [sys.executable, "-m", "sslkit"]
LIBRARIES = "import torch, timm, numpy, PIL, safetensors"
COMMANDS = {
    "help": [*SSLKIT, "--help"],
    "plugins": [*SSLKIT, "plugins"],
    "check": [*SSLKIT, "check", str(RECIPE)],
    "libraries": [sys.executable, "-c", LIBRARIES],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def imports_torch(arguments: list[str]) -> bool:
    """Return whether a command imports torch."""
    code = f"import sys; from sslkit.__main__ import main\ntry: main({arguments!r})\nexcept SystemExit: pass\n"
    code += "sys.exit(99 if 'torch' in sys.modules else 0)"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 99


def main() -> int:
    """Measure, interleaved, after one warm-up."""
    for command in COMMANDS.values():
        seconds(command)
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            samples[name].append(seconds(command))
    times = {name: spread(values) for name, values in samples.items()}
    extra = times["check"]["median"] - times["libraries"]["median"]
    torch_free = not imports_torch(["--help"]) and not imports_torch(["plugins"])
    rows = [
        {"what": "--help, s", "value": times["help"]["median"], "goal": "<= 0.3", "times": times["help"]},
        {"what": "plugins, s", "value": times["plugins"]["median"], "goal": "<= 0.5", "times": times["plugins"]},
        {"what": "check beyond its libraries, s", "value": extra, "goal": "<= 1.0", "times": times["check"]},
        {"what": "help and plugins without torch", "value": float(torch_free), "goal": ">= 1"},
    ]
    for row in rows:
        sign, bound = row["goal"].split()
        row["passed"] = row["value"] <= float(bound) if sign == "<=" else row["value"] >= float(bound)
    return report("startup", rows)


if __name__ == "__main__":
    sys.exit(main())
