"""Which plugins are installed, and what each contributes or why it cannot.

Enters: entry points of group `sslkit`, files that a recipe lists under `plugins`. Leaves: a `Registry` with one
row per plugin, imported when it is asked for; a broken plugin is a row with its reason and harms nobody. Called by
every command that names components. Not pluggy's own loader: that one stops at the first broken plugin and skips a
second owner of a name silently, and in a shared manager one plugin's misspelt hook fails the others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Final

import sslkit
from sslkit.errors import PluginError
from sslkit.registry.load import PluginRecord, load_file, load_module
from sslkit.registry.register import KINDS, Component, warn_renamed
from sslkit.text import did_you_mean

GROUP: Final = "sslkit"
RESERVED: Final = ("builtin", "core", "sslkit", "local")

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class _Claim:
    """One distribution that wants one namespace."""

    distribution: str  # normalised name: the same distribution found twice is one claim
    owner: str
    location: str
    entry_point: EntryPoint


class Registry:
    """All plugins and their components. Installed is not active: a plugin's code runs when its namespace is asked for.

    So a run loads the plugins that its recipe names. Lists of everything, and advice after a mistyped name, load all.

    Args:
        records: One row per plugin that is loaded.
        claims: Installed plugins that are not, by namespace.
    """

    def __init__(self, records: Sequence[PluginRecord], claims: Mapping[str, list[_Claim]] | None = None) -> None:
        self._loaded: dict[str, list[PluginRecord]] = {}
        self._claims = dict(claims or {})
        for record in records:
            self._loaded.setdefault(record.namespace, []).append(record)

    @classmethod
    def discover(cls, local: Iterable[Path] = ()) -> Registry:
        """Find sslkit's own components, every installed plugin and the given files.

        Args:
            local: Files of a recipe's `plugins` list, which are loaded now; their components are named `local.*`.
        """
        records = [load_module("builtin", f"sslkit {sslkit.__version__}", "sslkit.builtin.plugin", "sslkit")]
        for path in dict.fromkeys(local):
            records.append(load_file(path, records))
        return cls(records, _claims())

    @property
    def records(self) -> list[PluginRecord]:
        """One row per plugin: sslkit's own, the installed ones by name, files."""
        names = ["builtin", *sorted((self._loaded.keys() | self._claims.keys()) - {"builtin", "local"}), "local"]
        return [record for name in names for record in self.plugin(name)]

    def components(self, kind: str | None = None) -> list[Component]:
        """Return the usable components, all or of one kind, sorted by kind and name."""
        order = {name: position for position, name in enumerate(KINDS)}
        chosen = [c for record in self.records for c in record.components if kind is None or c.kind == kind]
        return sorted(chosen, key=lambda component: (order[component.kind], component.name))

    def named(self, name: str) -> list[Component]:
        """Return the components of this full name, whatever their kind."""
        return [component for component in self.components() if component.name == name]

    def plugin(self, namespace: str) -> list[PluginRecord]:
        """Return the rows of one namespace, loading it if need be; `local` may have several."""
        if namespace in self._claims:
            record = _load_claims(namespace, self._claims.pop(namespace))
            self._loaded.setdefault(namespace, []).append(record)
        return self._loaded.get(namespace, [])

    def get(self, kind: str, name: str) -> Component:
        """Return the component that a recipe names.

        Args:
            kind: What the recipe's table asks for.
            name: Full name; a former name works and warns.

        Raises:
            PluginError: Unknown name, another kind, or a plugin that could not be loaded; says which.
        """
        rows = self.plugin(name.partition(".")[0])
        for record in rows:
            new_name = record.renamings.get((kind, name))
            if new_name is not None:
                warn_renamed(kind, name, new_name)
                name = new_name
        for component in (component for record in rows for component in record.components):
            if (component.kind, component.name) == (kind, name):
                return component
        raise PluginError(self._why_not(kind, name))

    def _why_not(self, kind: str, name: str) -> str:
        namespace, dot, _ = name.partition(".")
        rows = self.plugin(namespace)
        works = any(record.status == "ok" for record in rows)
        for record in rows:
            if dot and (record.status == "failed" or not works):
                return (
                    f'plugin "{namespace}" ({record.owner}) is there but cannot be used: {record.reason}; '
                    f"see: sslkit plugins {namespace} --traceback"
                )
        if others := self.named(name):
            return f"{name} is a component of kind {others[0].kind}, not {kind}"
        advice = did_you_mean(name, [component.name for component in self.components(kind)])
        if dot and not rows:
            return f'there is no {kind} "{name}": no plugin "{namespace}" is installed{advice}; see: sslkit plugins'
        return f'there is no {kind} "{name}"{advice}; see: sslkit components {kind}'


def _claims() -> dict[str, list[_Claim]]:
    """Return every distribution's claims by namespace, each distribution once however often it is found."""
    claims: dict[str, list[_Claim]] = defaultdict(list)
    for distribution in distributions():
        try:
            entry_points = [entry for entry in distribution.entry_points if entry.group == GROUP]
        except Exception:  # unreadable metadata of a foreign package is not our business
            continue
        name, version, location = _identity(distribution) if entry_points else ("", "", "")
        for entry_point in entry_points:
            claims[_normalised(entry_point.name)].append(
                _Claim(_normalised(name), f"{name} {version}", location, entry_point)
            )
    return dict(claims)


def _identity(distribution: Distribution) -> tuple[str, str, str]:
    """Return name, version and place; from the folder's name where an uninstallation has left only half."""
    folder = Path(getattr(distribution, "_path", "unknown place/unnamed"))
    try:
        name, version = distribution.metadata["Name"], distribution.version
    except Exception:
        name = None
    if not name:
        name, _, version = folder.stem.partition("-")
    return name, version, str(folder.parent)


def _normalised(name: str) -> str:
    """Return a name under the packaging rule by which `My-x`, `my.x` and `my_x` are one."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _load_claims(namespace: str, claims: list[_Claim]) -> PluginRecord:
    owners: dict[str, _Claim] = {}
    for claim in claims:
        owners.setdefault(claim.distribution, claim)
    described = " and ".join(f"{claim.owner} in {claim.location}" for claim in owners.values())
    record = PluginRecord(namespace, ", ".join(c.owner for c in owners.values()), claims[0].location)
    if namespace in RESERVED:
        return record.refuse("conflict", f"{namespace!r} is reserved for sslkit; claimed by {described}")
    if len(owners) > 1:
        reason = f"{len(owners)} distributions claim {namespace!r}, none is loaded: {described}"
        return record.refuse("conflict", reason)
    # Left-over metadata may stand beside the real one: the first that loads is the plugin.
    targets: dict[str, _Claim] = {}
    for claim in claims:
        if _NAMESPACE.fullmatch(claim.entry_point.name):
            targets.setdefault(claim.entry_point.value.partition(":")[0].strip(), claim)
    if not targets:
        spelled = claims[0].entry_point.name
        reason = f"the entry point {spelled!r} of {described} should be lower-case letters, digits and _"
        return record.refuse("failed", reason)
    attempts = []
    for module_name, claim in targets.items():
        attempts.append(load_module(namespace, claim.owner, module_name, claim.location))
        if attempts[-1].status == "ok":
            return attempts[-1]
    return attempts[0]
