"""Everything that `sslkit doctor` reads of a machine, in the order in which it is shown.

Enters: where runs go. Leaves: readings. Called by the command.
"""

from __future__ import annotations

from pathlib import Path

from sslkit.doctor.devices import ask_torch, devices
from sslkit.doctor.machine import limits, memory, places, processor, tools
from sslkit.doctor.reading import Reading


def environment(runs: Path) -> list[Reading]:
    """Read versions, plugins, devices, memory, limits and places.

    Args:
        runs: Where run folders go.
    """
    machine = [*memory(), *limits(), *places(runs), *tools()]
    try:
        from sslkit.doctor.software import plugins, versions
        from sslkit.registry.discover import Registry
    except ModuleNotFoundError as error:
        problem = "sslkit needs it; type: python -m pip install --force-reinstall sslkit"
        return [Reading("versions", str(error.name), "missing", None, problem, stops=True), *machine]
    records = Registry.discover().records
    said = ask_torch()
    imported = {name: str(said[name]) for name in said if name in ("torch", "torchvision")}
    return [*versions(records, imported), *plugins(records), *processor(), *devices(said), *machine]
