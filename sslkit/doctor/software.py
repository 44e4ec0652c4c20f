"""The software that a run is made of: versions against what is required, and the state of each plugin.

Enters: the metadata of installed packages, and what torch says of itself. Leaves: readings. Called by `sslkit doctor`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

import sslkit
from sslkit.doctor.reading import Reading
from sslkit.registry.load import PluginRecord


def versions(records: list[PluginRecord], imported: Mapping[str, str]) -> Iterator[Reading]:
    """Read the version of everything that sslkit and the plugins require.

    Args:
        records: The plugins.
        imported: Versions by name that libraries gave of themselves: they say more, such as `2.14.1+cpu`.
    """
    place = Path(sslkit.__file__).parent
    yield Reading("versions", "sslkit", f"{sslkit.__version__} in {place}", sslkit.__version__)
    seen = {"sslkit"}
    for owner in dict.fromkeys(["sslkit", *(record.owner.rpartition(" ")[0] for record in records)]):
        for requirement in _requirements(owner):
            if _normalised(requirement.name) not in seen:
                seen.add(_normalised(requirement.name))
                yield _version(owner, requirement, imported)


def plugins(records: list[PluginRecord]) -> Iterator[Reading]:
    """Read each plugin's state; only sslkit's own stops every run."""
    for record in records:
        text = f"{record.status}, {record.owner}, {len(record.components)} components"
        value = {"status": record.status, "owner": record.owner, "components": len(record.components)}
        advice = f"; see: sslkit plugins {record.namespace} --traceback"
        broken = record.status != "ok"
        problem = record.reason + advice * broken
        yield Reading("plugins", record.namespace, text, value, problem, broken and record.namespace == "builtin")


def _requirements(owner: str) -> list[Requirement]:
    try:
        texts = requires(owner) or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return []
    found = [Requirement(text) for text in texts]
    return [item for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]


def _version(owner: str, requirement: Requirement, imported: Mapping[str, str]) -> Reading:
    name = requirement.name
    wanted = f"{name}{requirement.specifier}"
    install = f"type: python -m pip install '{wanted}'"
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Reading("versions", name, "missing", None, f"{owner} needs it; {install}", owner == "sslkit")
    problem = ""
    if not requirement.specifier.contains(installed, prereleases=True):
        problem = f"{owner} needs {wanted}; {install}"
    shown = imported.get(name, installed)
    return Reading("versions", name, shown, shown, problem, bool(problem) and owner == "sslkit")


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
