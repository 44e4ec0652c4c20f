"""What torch says of this machine, as one line of JSON: `python -m sslkit.doctor.torch_probe`.

Called by `devices`, in a process of its own: a torch that cannot be imported, crashes or hangs must not take the doctor
with it. The only file here that imports torch.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def main() -> None:
    """Print what there is."""
    import torch

    said: dict[str, Any] = {
        "torch": torch.__version__,
        "built_for_cuda": torch.version.cuda,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "mps": torch.backends.mps.is_available(),
        "nccl": None,
        "devices": [],
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said["cuda"] = torch.cuda.is_available()
    said["cuda_problem"] = str(caught[0].message) if caught else ""
    if said["cuda"]:
        if torch.distributed.is_available() and torch.distributed.is_nccl_available():
            said["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
        said["devices"] = [_device(number) for number in range(torch.cuda.device_count())]
    try:
        import torchvision

        said["torchvision"] = torchvision.__version__
    except Exception as error:  # of another build than torch: it may raise anything
        said["torchvision_problem"] = f"{type(error).__name__}: {error}"
    sys.stdout.write("\n" + json.dumps(said) + "\n")


def _device(number: int) -> dict[str, Any]:
    """Return a CUDA device's name, memory and capability, and why it cannot compute if so."""
    import torch

    properties = torch.cuda.get_device_properties(number)
    device: dict[str, Any] = {
        "name": properties.name,
        "total": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "problem": "",
    }
    try:
        device["free"] = torch.cuda.mem_get_info(number)[0]
        torch.ones(2, device=f"cuda:{number}").sum().item()
    except RuntimeError as error:  # no kernel for this capability, a broken or exclusively used device
        device["problem"] = str(error).strip().splitlines()[0]
    return device


if __name__ == "__main__":
    main()
