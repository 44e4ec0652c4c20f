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
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


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
        "packages": {name: version(name) for name in ("sslkit", "timm", "pydantic", "rich", "pluggy")},
    }


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
