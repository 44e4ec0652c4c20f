"""The machine below sslkit: processor, memory, limits of the system, room on disks, a compiler.

Enters: what the system says of itself. Leaves: readings, those that will hurt with what to type. Called by `sslkit
doctor`. All of it is read without torch.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sslkit.doctor.cgroups import cores_limit, memory_limit, read
from sslkit.doctor.reading import Reading, size
from sslkit.errors import RunError
from sslkit.run_folder import require_writable

ROOT: Final = Path("/")

_GIB: Final = 2**30
_LITTLE_MEMORY: Final = 4 * _GIB
_LITTLE_SHARED: Final = _GIB // 2  # what `engine.batches` lets chunks of images in flight take
_LITTLE_DISK: Final = 2 * _GIB  # three checkpoints of a ResNet-50 with its optimizer are 0.7 GiB
_NO_DISK: Final = 100 * 2**20
_FEW_FILES: Final = 1024  # what Linux gives; macOS gives 256
_FEW_PROCESSES: Final = 1024  # every thread counts
_SMALL_FILE: Final = 2 * _GIB


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor(root: Path = ROOT) -> list[Reading]:
    """Read the processor's name and how much of it may be used."""
    model = _fields(root / "proc/cpuinfo").get("model name") or platform.processor() or platform.machine()
    usable, there, limit = cores(), os.cpu_count() or 1, cores_limit(root)
    text = f"{usable}" if usable == there else f"{usable} of {there}"
    if limit is not None:
        text += f", with the time of {limit:g}"
    return [
        Reading("processor", "cpu", model),
        Reading("processor", "cores", text, {"usable": usable, "there": there, "time_of": limit}),
    ]


def lacks_bf16(root: Path = ROOT) -> bool:
    """Return whether the processor is known to have no instructions for bf16."""
    fields = _fields(root / "proc/cpuinfo")
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return bool(flags) and not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)


def memory(root: Path = ROOT) -> list[Reading]:
    """Read the memory, what of it a container may use, and the memory that processes share."""
    readings = []
    fields = _fields(root / "proc/meminfo")
    total, free = (
        int(fields[name].split()[0]) * 1024 if name in fields else None for name in ("MemTotal", "MemAvailable")
    )
    if total is None and hasattr(os, "sysconf"):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total is not None:
        text = size(total) if free is None else f"{size(free)} free of {size(total)}"
        low = free is not None and free < _LITTLE_MEMORY
        problem = "a run may be killed; use smaller batches: pretrain.micro_batch_size=64" if low else ""
        readings.append(Reading("memory", "memory", text, {"total": total, "free": free}, problem))
    limit = memory_limit(root)
    if limit is not None:
        problem = "a run that takes more is killed; allow more: docker run --memory=16g, sbatch --mem=16G"
        low = limit < _LITTLE_MEMORY
        readings.append(Reading("memory", "limit", size(limit), limit, problem if low else ""))
    return readings + _shared_memory(root / "dev/shm")


def _shared_memory(folder: Path) -> list[Reading]:
    if not folder.is_dir():  # elsewhere there is no such limit
        return []
    status = os.statvfs(folder)
    total, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    text = f"{size(free)} free of {size(total)}"
    problem = ""
    if total < _LITTLE_SHARED:
        problem = (
            "loader processes hand over images in it; enlarge it (docker run --shm-size=2g), or load with --workers 0"
        )
    elif free < _LITTLE_SHARED:
        problem = f"other processes fill it; see: ls -l {folder}"
    return [Reading("memory", "shared memory", text, {"total": total, "free": free}, problem)]


def limits() -> list[Reading]:
    """Read the limits that the system sets each process; Windows has none of them."""
    try:
        import resource
    except ImportError:
        return []
    rows = (
        (
            "open files",
            resource.RLIMIT_NOFILE,
            _FEW_FILES,
            "loader processes and ranks need more; type: ulimit -n 4096",
        ),
        ("processes", resource.RLIMIT_NPROC, _FEW_PROCESSES, "threads count too; type: ulimit -u 4096"),
        ("file size", resource.RLIMIT_FSIZE, _SMALL_FILE, "a larger checkpoint fails; type: ulimit -f unlimited"),
    )
    readings = []
    for name, which, few, problem in rows:
        soft, hard = resource.getrlimit(which)
        shown = [
            "unlimited" if value == resource.RLIM_INFINITY else size(value) if name == "file size" else f"{value:,}"
            for value in (soft, hard)
        ]
        text = shown[0] if shown[0] == shown[1] else f"{shown[0]} (up to {shown[1]} on request)"
        low = soft != resource.RLIM_INFINITY and soft < few
        value = None if soft == resource.RLIM_INFINITY else soft
        readings.append(Reading("limits", name, text, value, problem if low else ""))
    return readings


def places(runs: Path) -> Iterator[Reading]:
    """Read where a run writes and how much room is there.

    Args:
        runs: Where run folders go.
    """
    yield _room("runs", runs, needed=True)
    try:
        yield _room("cache", Path.home() / ".cache" / "sslkit", needed=False)
    except RuntimeError:  # nobody's process: no home
        problem = "lists of images are read anew by every run; set HOME"
        yield Reading("places", "cache", "none", problem=problem)


def _room(name: str, folder: Path, *, needed: bool) -> Reading:
    existing = folder.absolute()
    try:
        require_writable(existing)
        while not existing.exists():
            existing = existing.parent
        usage = shutil.disk_usage(existing)
    except (OSError, RunError) as error:
        return Reading("places", name, str(folder), str(folder.absolute()), str(error), needed)
    problem = ""
    if usage.free < _LITTLE_DISK:
        room = "no" if usage.free < _NO_DISK else "little"
        problem = f"{room} room for checkpoints; delete something there, or name another place with --runs"
    text = f"{size(usage.free)} free of {size(usage.total)} in {folder}"
    value = {"folder": str(folder.absolute()), "total": usage.total, "free": usage.free}
    return Reading("places", name, text, value, problem, needed and usage.free < _NO_DISK)


def tools() -> list[Reading]:
    """Read how processes are started, and which compiler `--compile` would use."""
    compiler = next(filter(None, map(shutil.which, ("g++", "clang++", "cl"))), None)
    problem = "" if compiler else "sslkit run --compile on a CPU needs one; install g++, or leave --compile out"
    return [
        Reading("tools", "start method", multiprocessing.get_all_start_methods()[0]),
        Reading("tools", "C++ compiler", compiler or "none", compiler, problem),
        Reading("tools", "python", f"{platform.python_version()} in {sys.prefix}", platform.python_version()),
        Reading("tools", "system", platform.platform()),
    ]


def _fields(path: Path) -> dict[str, str]:
    """Return `name: value` lines of a file; of several of one name, the first."""
    pairs = [line.partition(":") for line in reversed(read(path).splitlines())]
    return {name.strip(): value.strip() for name, _, value in pairs}
