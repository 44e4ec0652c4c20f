"""What the benchmarks share: a description of the machine, and a verdict that is printed and written as JSON.

Every benchmark interleaves its competitors in one process or session, and reports medians. Absolute times belong to the
machine they were taken on; ratios travel.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
ROUNDS = 6
PACKAGES = (
    "sslkit", "timm", "torchvision", "kornia", "pillow", "numpy", "pydantic", "rich", "pluggy",
    "lightly", "albumentations",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what the figures belong to."""
    import torch

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processor": processor(),
        "packages": {name: version(name) for name in PACKAGES if installed(name)},
    }


def installed(name: str) -> bool:
    """Return whether a distribution is there; peers are optional."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def processor() -> str:
    """Return the processor's own name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples), "n": len(samples)}


def report(name: str, rows: list[dict[str, Any]]) -> int:
    """Print rows that have `what`, `value`, `goal` and `passed`, write them, and return the number of failures.

    A figure without a goal has None for both.
    """
    for row in rows:
        verdict = {True: "PASS", False: "FAIL", None: "    "}[row["passed"]]
        print(
            f"{verdict}  {row['what']}: {row['value']:.4g}" + ("" if row["goal"] is None else f" (goal {row['goal']})")
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": machine(), "rows": rows}, indent=1) + "\n")
    print(f"written to {path}")
    return sum(row["passed"] is False for row in rows)


def interleaved(competitors: Mapping[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Return the median processor time of each, microseconds per image, over rounds in which each runs once."""
    samples: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(ROUNDS + 1):
        for name, work in competitors.items():
            before = time.process_time()
            work()
            if number:
                samples[name].append((time.process_time() - before) / count * 1e6)
    return {name: statistics.median(values) for name, values in samples.items()}


def figures(what: str, taken: Mapping[str, float], unit: str) -> list[dict[str, Any]]:
    """Return rows without a goal."""
    return [
        {"what": f"{what}: {name}, {unit}", "value": value, "goal": None, "passed": None}
        for name, value in taken.items()
    ]


def goal(what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """Return a row with a goal."""
    if at_least is not None:
        return {"what": what, "value": value, "goal": f">= {at_least:g}", "passed": value >= at_least}
    assert at_most is not None
    return {"what": what, "value": value, "goal": f"<= {at_most:g}", "passed": value <= at_most}
