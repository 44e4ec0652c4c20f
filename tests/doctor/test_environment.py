"""What the doctor reads, and what it warns of, from made-up systems."""

import os
import sys
from types import SimpleNamespace

import pytest

from sslkit.doctor import machine, software
from sslkit.doctor.cgroups import cores_limit, memory_limit
from sslkit.doctor.devices import ask_torch, devices
from sslkit.doctor.reading import size
from sslkit.registry.discover import Registry

GIB = 2**30
SAID = {
    "torch": "2.11.0+cpu", "torchvision": "0.26.0+cpu", "built_for_cuda": None, "instructions": "AVX512", "threads": 4,
    "mps": False, "nccl": None, "devices": [], "cuda": False, "cuda_problem": "",
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Return a function that writes files of a made-up system, and returns its root."""
    root = tmp_path / "root"
    root.mkdir()

    def write(texts):
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return write


def problems(readings):
    return {reading.name: reading.problem for reading in readings if reading.problem}


def test_libraries_that_are_missing_or_too_old(monkeypatch):
    wanted = {"sslkit": ["torch>=99", "gone>=1", "unused; extra == 'docs'"], "toy-good": ["numpy>=99", "sslkit>=0.1"]}
    monkeypatch.setattr(software, "requires", wanted.get)
    records = [SimpleNamespace(owner="sslkit 0.1.0"), SimpleNamespace(owner="toy-good 1.0")]
    read = {reading.name: reading for reading in software.versions(records, {"torch": "2.11.0+cpu"})}
    assert list(read) == ["sslkit", "torch", "gone", "numpy"]
    assert (read["torch"].text, read["torch"].stops) == ("2.11.0+cpu", True)
    assert read["torch"].problem == "sslkit needs torch>=99; type: python -m pip install 'torch>=99'"
    assert (read["gone"].text, read["gone"].stops) == ("missing", True)
    assert (read["numpy"].problem.startswith("toy-good needs numpy>=99"), read["numpy"].stops) == (True, False)


def test_only_sslkit_s_own_components_stop_every_run(install):
    install("broken", "raise ValueError")
    records = Registry.discover().records
    records[0].refuse("failed", "half installed")
    read = {reading.name: reading for reading in software.plugins(records)}
    assert (read["builtin"].stops, read["broken"].stops) == (True, False)


def test_limits_of_containers(files):
    assert (memory_limit(files({})), cores_limit(files({}))) == (None, None)
    top = "sys/fs/cgroup"
    root = files({
        "proc/self/cgroup": "0::/job/step",
        f"{top}/job/memory.max": f"{3 * GIB}\n",
        f"{top}/job/step/memory.max": "max\n",
        f"{top}/job/cpu.max": "max 100000\n",
        f"{top}/job/step/cpu.max": "150000 100000\n",
    })  # fmt: skip
    assert (memory_limit(root), cores_limit(root)) == (3 * GIB, 1.5)


def test_limits_of_older_containers(files):
    root = files({
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    assert (memory_limit(root), cores_limit(root)) == (2 * GIB, 2.0)


def test_little_memory(files, monkeypatch):
    root = files({
        "proc/meminfo": f"MemTotal: {8 * 2**20} kB\nMemAvailable: {2**20} kB\n",
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/memory.max": str(GIB),
        "dev/shm/some": "",
    })  # fmt: skip
    room = SimpleNamespace(f_frsize=4096, f_blocks=2**14, f_bavail=2**14)
    monkeypatch.setattr(os, "statvfs", lambda folder: room)
    readings = machine.memory(root)
    assert [reading.text for reading in readings] == ["1.0 GiB free of 8.0 GiB", "1.0 GiB", "64 MiB free of 64 MiB"]
    found = problems(readings)
    assert "pretrain.micro_batch_size=64" in found["memory"]
    assert "--mem=16G" in found["limit"]
    assert "docker run --shm-size=2g" in found["shared memory"]
    room.f_blocks = 2**20
    assert "other processes fill it" in problems(machine.memory(root))["shared memory"]
    room.f_bavail = 2**20
    assert "shared memory" not in problems(machine.memory(root))


def test_low_limits_of_the_system(monkeypatch):
    resource = pytest.importorskip("resource")
    low = {resource.RLIMIT_NOFILE: (256, 4096), resource.RLIMIT_NPROC: (100, 100), resource.RLIMIT_FSIZE: (GIB, -1)}
    monkeypatch.setattr(resource, "getrlimit", low.get)
    readings = machine.limits()
    shown = [reading.text for reading in readings]
    assert shown == ["256 (up to 4,096 on request)", "100", "1.0 GiB (up to unlimited on request)"]
    assert [reading.problem.rpartition("type: ")[2] for reading in readings] == [
        "ulimit -n 4096", "ulimit -u 4096", "ulimit -f unlimited",
    ]  # fmt: skip
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert problems(machine.limits()) == {}


@pytest.mark.parametrize(("free", "problem", "stops"), [(GIB, "little room", False), (2**20, "no room", True)])
def test_full_disks(tmp_path, monkeypatch, free, problem, stops):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: SimpleNamespace(total=100 * GIB, free=free))
    runs, cache = machine.places(tmp_path)
    assert runs.problem.startswith(problem)
    assert (runs.stops, cache.stops) == (stops, False)


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "install g++" in problems(machine.tools())["C++ compiler"]


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("raise ImportError('libcudart is not there')", "ImportError: libcudart is not there"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("import time; time.sleep(60)", "hangs: nothing for 1 s"),
    ],
)
def test_a_torch_that_cannot_be_imported_stops(program, problem):
    [reading] = devices(ask_torch([sys.executable, "-c", program], seconds=1))
    assert reading.stops
    assert problem in reading.problem


def test_torch_and_torchvision_of_different_builds(files):
    other = problems(devices(SAID | {"torchvision": "0.26.0+cu130"}, files({})))
    assert other["torchvision"].startswith("built for cu130, torch for cpu; install torch and torchvision together")
    broken = SAID | {"torchvision_problem": "RuntimeError: operator torchvision::nms does not exist"}
    [reading] = [reading for reading in devices(broken, files({})) if reading.stops]
    assert "nms does not exist; install torch and torchvision together" in reading.problem
    assert problems(devices(SAID, files({}))) == {}


def test_processors_without_bf16_and_with_little_time(files, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    limit = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}
    found = problems(devices(SAID, files(limit | {"proc/cpuinfo": "flags\t: sse avx2\n"})))
    assert "no bf16 instructions" in found["instructions"]
    assert found["threads"].endswith("in 1.5 cores' time; type: export OMP_NUM_THREADS=1")
    assert problems(devices(SAID | {"threads": 1}, files({"proc/cpuinfo": "flags\t: sse amx_bf16\n"}))) == {}
    assert "instructions" not in problems(devices(SAID | {"cuda": True}, files({"proc/cpuinfo": "flags\t: sse\n"})))


def test_threads_that_an_environment_takes_away(files, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sslkit.doctor.devices.cores", lambda: 16)
    assert "type: unset OMP_NUM_THREADS" in problems(devices(SAID | {"threads": 1}, files({})))["threads"]


def test_cuda_devices(files):
    driver = {
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu\nGCC 12.2\n"
    }
    card = {"name": "Card", "total": 80 * GIB, "capability": "9.0", "free": 79 * GIB, "problem": ""}
    said = SAID | {"cuda": True, "built_for_cuda": "13.0", "nccl": "2.30.7", "devices": [card]}
    readings = {reading.name: reading for reading in devices(said, files(driver))}
    assert readings["cuda:0"].text == "Card, 80.0 GiB, compute capability 9.0, 79.0 GiB free"
    assert readings["cuda"].text == "CUDA 13.0, driver 570.86.15, NCCL 2.30.7"
    broken = card | {"problem": "CUDA error: no kernel image is available"}
    assert "no kernel image" in problems(devices(said | {"devices": [broken]}, files(driver)))["cuda:0"]


def test_cuda_that_cannot_be_used(files):
    driver = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.1\n"}
    assert "this torch is for CPUs only; install" in problems(devices(SAID, files(driver)))["cuda"]
    old = SAID | {"built_for_cuda": "13.0", "cuda_problem": "The NVIDIA driver on your system is too old"}
    assert (
        "470.1 cannot be used by a torch for CUDA 13.0; The NVIDIA driver" in problems(devices(old, files({})))["cuda"]
    )


def test_sizes():
    assert [size(number) for number in (64 * 2**20, GIB, 1536 * GIB)] == ["64 MiB", "1.0 GiB", "1,536.0 GiB"]
