"""Which plugins are installed, and what each contributes or why it cannot.

Enters: entry points of group `sslkit`, files that a recipe lists under `plugins`. Leaves: a `Registry` with one
row per plugin, imported when it is asked for; a broken plugin is a row with its reason and harms nobody. Called by
every command that names components. Not pluggy's own loader: that one stops at the first broken plugin and skips a
second owner of a name silently, and in a shared manager one plugin's misspelt hook fails the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import sslkit
from sslkit.errors import PluginError
from sslkit.registry.claims import Claim, alive, claims_by_namespace, code_folder, normalised, true_claim
from sslkit.registry.load import PluginRecord, load_file, load_module
from sslkit.registry.register import KINDS, Component, warn_renamed
from sslkit.text import did_you_mean

RESERVED: Final = ("builtin", "core", "sslkit", "local")

NAMESPACE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Registry:
    """All plugins and their components. Installed is not active: a plugin's code runs when its namespace is asked for.

    So a run loads the plugins that its recipe names. Lists of everything, and advice after a mistyped name, load all.

    Args:
        records: One row per plugin that is loaded.
        claims: Installed plugins that are not, by namespace.
    """

    def __init__(self, records: Sequence[PluginRecord], claims: Mapping[str, list[Claim]] | None = None) -> None:
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
        own = PluginRecord("builtin", "sslkit", sslkit.__version__, str(Path(sslkit.__file__).parent.parent))
        records = [load_module(own, "sslkit.builtin.plugin")]
        for path in dict.fromkeys(local):
            records.append(load_file(path, records))
        return cls(records, claims_by_namespace())

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
                more = f"; see: sslkit plugins {namespace} --traceback" if record.traceback and record.version else ""
                return f'plugin "{namespace}" ({record.owner}) is there but cannot be used: {record.reason}{more}'
        if others := self.named(name):
            return f"{name} is a component of kind {others[0].kind}, not {kind}"
        advice = did_you_mean(name, [component.name for component in self.components(kind)])
        if dot and not rows:
            return f'there is no {kind} "{name}": no plugin "{namespace}" is installed{advice}; see: sslkit plugins'
        return f'there is no {kind} "{name}"{advice}; see: sslkit components {kind}'


def _load_claims(namespace: str, claims: Sequence[Claim]) -> PluginRecord:
    """Load the plugin that an import would find, if exactly one distribution brings it."""
    living = alive(claims) or claims
    owners: dict[str, list[Claim]] = {}  # the same distribution found twice is one
    for claim in living:
        owners.setdefault(normalised(claim.distribution), []).append(claim)
    chosen = [true_claim(of_one) for of_one in owners.values()]
    described = " and ".join(f"{claim.owner} in {claim.location}" for claim in chosen)
    if namespace in RESERVED or len(chosen) > 1:
        record = PluginRecord(namespace, ", ".join(claim.owner for claim in chosen), "", str(chosen[0].location))
        if namespace in RESERVED:
            return record.refuse("conflict", f"{namespace!r} is reserved for sslkit; claimed by {described}")
        reason = f"{len(chosen)} distributions claim {namespace!r}, none is loaded: {described}; uninstall one"
        return record.refuse("conflict", reason)
    (claim,) = chosen
    record = PluginRecord(namespace, claim.distribution, claim.version, str(code_folder(claim) or claim.location))
    if not NAMESPACE.fullmatch(claim.name):
        reason = f"the entry point {claim.name!r} of {described} should be lower-case letters, digits and _"
        return record.refuse("failed", reason)
    load_module(record, claim.module)
    if record.status == "failed" and not alive(claims):
        record.reason += f"; if {claim.owner} was uninstalled, {claim.metadata} is left over: delete it"
    return record
