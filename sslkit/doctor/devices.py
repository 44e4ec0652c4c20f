"""What torch finds on this machine: threads, instruction set, CUDA and MPS devices.

Enters: what a process of its own, `torch_probe`, says. Leaves: readings. Called by `sslkit doctor`. Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sslkit.doctor.cgroups import cores_limit, read
from sslkit.doctor.machine import ROOT, cores, lacks_bf16
from sslkit.doctor.reading import Reading, size

_PROBE: Final = (sys.executable, "-m", "sslkit.doctor.torch_probe")
_ONE_INDEX: Final = "install torch and torchvision together, from one index: python -m pip install -U torch torchvision"


def ask_torch(command: Sequence[str] = _PROBE, seconds: float = 120.0) -> dict[str, Any]:
    """Return what torch says of itself, or a `problem` if it says nothing.

    Args:
        command: What to start.
        seconds: How long to wait.
    """
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"problem": f"import torch hangs: nothing for {seconds:g} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(b"{")]  # a library may print, too
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return {"problem": f"import torch fails: {said[-1] if said else f'exit code {done.returncode}'}"}


def devices(said: Mapping[str, Any], root: Path = ROOT) -> list[Reading]:
    """Return the readings of a probe's answer.

    Args:
        said: The answer.
        root: Of the file system.
    """
    if "problem" in said:
        return [Reading("devices", "torch", "unusable", None, f"{said['problem']}; {_ONE_INDEX}", stops=True)]
    readings = _processor(said, root)
    if "torchvision_problem" in said:
        problem = f"{said['torchvision_problem']}; {_ONE_INDEX}"
        readings.append(Reading("devices", "torchvision", "unusable", None, problem, stops=True))
    elif (ours := _build(said["torch"])) != (theirs := _build(said["torchvision"])):
        problem = f"built for {theirs}, torch for {ours}; {_ONE_INDEX}"
        readings.append(Reading("devices", "torchvision", said["torchvision"], said["torchvision"], problem))
    readings += _cuda(said, root)
    if said["mps"]:
        readings.append(Reading("devices", "mps", "there; say --device mps", True))
    return readings


def _build(version: str) -> str:
    """Return what a library is built for: `cu130` of `2.14.1+cu130`."""
    return version.partition("+")[2] or "any"


def _processor(said: Mapping[str, Any], root: Path) -> list[Reading]:
    instructions, threads = said["instructions"], said["threads"]
    usable, limit = cores(), cores_limit(root)
    problem = ""
    if limit is not None and threads > max(1, limit):
        share = max(1, int(limit))
        problem = f"they wait for each other in {limit:g} cores' time; type: export OMP_NUM_THREADS={share}"
    elif "OMP_NUM_THREADS" in os.environ and 2 * threads < usable:
        problem = f"OMP_NUM_THREADS leaves most of {usable} cores idle; type: unset OMP_NUM_THREADS"
    slow = not said["cuda"] and lacks_bf16(root)
    bf16 = (
        'this processor has no bf16 instructions: leave precision at "float32", "bf16" would be slower' if slow else ""
    )
    return [
        Reading("processor", "instructions", instructions, instructions, bf16),
        Reading("processor", "threads", f"{threads}", threads, problem),
    ]


def _cuda(said: Mapping[str, Any], root: Path) -> list[Reading]:
    driver = re.search(r"\d+\.\d+(\.\d+)?", read(root / "proc/driver/nvidia/version").partition("Kernel Module")[2])
    built = said["built_for_cuda"]
    if not said["cuda"]:
        problem = said["cuda_problem"]
        if driver and not built:
            problem = f"there is an NVIDIA driver, but this torch is for CPUs only; {_ONE_INDEX}"
        elif driver:
            problem = (
                f"the driver {driver[0]} cannot be used by a torch for CUDA {built}; {problem or 'update the driver'}"
            )
        text = f"none (torch is built for {f'CUDA {built}' if built else 'CPUs'})"
        return [Reading("devices", "cuda", text, [], problem)]
    readings = []
    for number, device in enumerate(said["devices"]):
        text = f"{device['name']}, {size(device['total'])}, compute capability {device['capability']}"
        if "free" in device:
            text += f", {size(device['free'])} free"
        problem = device["problem"] and f"{device['problem']}; choose another with --device, or another torch"
        readings.append(Reading("devices", f"cuda:{number}", text, device, problem))
    versions = {"CUDA": built, "driver": driver and driver[0], "NCCL": said["nccl"]}
    text = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
    return [*readings, Reading("devices", "cuda", text, versions)]
