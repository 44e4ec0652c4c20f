"""Which plugins are installed, and what each contributes or why it cannot.

Enters: entry points of group `sslkit`, files that a recipe lists under `plugins`. Leaves: a `Registry` with one
row per plugin; a broken plugin is a row with its reason and harms nobody. Called by every command that names
components. Not pluggy's own loader: that one stops at the first broken plugin and skips a second owner of a
name silently, and in a shared manager one plugin's misspelt hook fails the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import os
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import pluggy

import sslkit
from sslkit.errors import PluginError
from sslkit.registry import hookspecs
from sslkit.registry.register import KINDS, Component, Register, warn_renamed
from sslkit.text import did_you_mean, one_line

GROUP: Final = "sslkit"
SUPPORTED_APIS: Final = (1,)
RESERVED: Final = ("builtin", "core", "sslkit", "local")

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass
class PluginRecord:
    """One row of `sslkit plugins`.

    Attributes:
        namespace: First part of its components' names.
        owner: Distribution and version.
        location: The folder it was found in, or the file.
        status: `ok`, `failed` or `conflict`.
        reason: Why it is not ok; for an ok plugin, what it did that it should not have.
        traceback: The full traceback of a failed import.
        components: What it registered; empty unless ok.
        renamings: (kind, old full name) -> new full name.
    """

    namespace: str
    owner: str
    location: str
    status: Literal["ok", "failed", "conflict"] = "ok"
    reason: str = ""
    traceback: str = ""
    components: list[Component] = field(default_factory=list)
    renamings: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Claim:
    """One distribution that wants one namespace."""

    distribution: str  # normalised name: the same distribution found twice is one claim
    owner: str
    location: str
    entry_point: EntryPoint


class Registry:
    """All plugins and their components.

    Args:
        records: One row per plugin.
    """

    def __init__(self, records: Sequence[PluginRecord]) -> None:
        self.records = list(records)
        self._components = {
            (component.kind, component.name): component
            for record in self.records
            for component in record.components
        }

    @classmethod
    def discover(cls, local: Iterable[Path] = ()) -> Registry:
        """Find sslkit's own components, every installed plugin and the given files.

        Args:
            local: Files of a recipe's `plugins` list; their components are named `local.*`.
        """
        records = [_load_module("builtin", f"sslkit {sslkit.__version__}", "sslkit.builtin.plugin", "sslkit")]
        for namespace, claims in sorted(_claims().items()):
            records.append(_load_claims(namespace, claims))
        records.extend(_load_file(path) for path in local)
        return cls(records)

    def components(self, kind: str | None = None) -> list[Component]:
        """Return the usable components, all or of one kind, sorted by kind and name."""
        order = {name: position for position, name in enumerate(KINDS)}
        chosen = [c for c in self._components.values() if kind is None or c.kind == kind]
        return sorted(chosen, key=lambda component: (order[component.kind], component.name))

    def named(self, name: str) -> list[Component]:
        """Return the components of this full name, whatever their kind."""
        return [component for component in self.components() if component.name == name]

    def plugin(self, namespace: str) -> list[PluginRecord]:
        """Return the rows of one namespace; `local` may have several."""
        return [record for record in self.records if record.namespace == namespace]

    def get(self, kind: str, name: str) -> Component:
        """Return the component that a recipe names.

        Args:
            kind: What the recipe's table asks for.
            name: Full name; a former name works and warns.

        Raises:
            PluginError: Unknown name, another kind, or a plugin that could not be loaded; says which.
        """
        for record in self.records:
            new_name = record.renamings.get((kind, name))
            if new_name is not None:
                warn_renamed(kind, name, new_name)
                name = new_name
        if (kind, name) in self._components:
            return self._components[kind, name]
        namespace = name.partition(".")[0]
        broken = [record for record in self.plugin(namespace) if record.status != "ok"]
        if broken and "." in name:
            first = broken[0]
            raise PluginError(
                f'plugin "{namespace}" ({first.owner}) is installed but cannot be used: {first.reason}; '
                f"see: sslkit plugins {namespace} --traceback"
            )
        others = self.named(name)
        if others:
            raise PluginError(f"{name} is a component of kind {others[0].kind}, not {kind}")
        known = [component.name for component in self.components(kind)]
        if "." in name and not self.plugin(namespace):
            advice = did_you_mean(name, known) or f"; no plugin named {namespace!r} is installed"
            raise PluginError(f'there is no {kind} "{name}"{advice}; see: sslkit plugins')
        raise PluginError(f'there is no {kind} "{name}"{did_you_mean(name, known)}; see: sslkit components')


def _claims() -> dict[str, list[_Claim]]:
    """Return every distribution's claims by namespace, each distribution once however often it is found."""
    claims: dict[str, list[_Claim]] = defaultdict(list)
    for distribution in distributions():
        try:
            entry_points = [entry for entry in distribution.entry_points if entry.group == GROUP]
            if not entry_points:
                continue
            name, location = _identity(distribution)
            version = distribution.version
        except Exception:  # unreadable metadata of a foreign package is not our business
            continue
        for entry_point in entry_points:
            claims[_normalised(entry_point.name)].append(
                _Claim(_normalised(name), f"{name} {version}", location, entry_point)
            )
    return dict(claims)


def _identity(distribution: Distribution) -> tuple[str, str]:
    metadata_folder = getattr(distribution, "_path", None)
    location = str(metadata_folder.parent) if isinstance(metadata_folder, Path) else "unknown place"
    return distribution.metadata["Name"] or "unnamed distribution", location


def _normalised(name: str) -> str:
    """Return a name under the packaging rule by which `My-x`, `my.x` and `my_x` are one."""
    return re.sub(r"[-_.]+", "_", name).lower()


def _load_claims(namespace: str, claims: list[_Claim]) -> PluginRecord:
    owners: dict[str, _Claim] = {}
    for claim in claims:
        owners.setdefault(claim.distribution, claim)
    described = " and ".join(f"{claim.owner} in {claim.location}" for claim in owners.values())
    record = PluginRecord(namespace, ", ".join(c.owner for c in owners.values()), claims[0].location)
    spelled = claims[0].entry_point.name
    if namespace in RESERVED:
        return _failed(record, f"the name {namespace!r} is reserved for sslkit; claimed by {described}")
    if len(owners) > 1:
        record.status = "conflict"
        record.reason = f"two distributions claim {namespace!r}, neither is loaded: {described}"
        return record
    if not _NAMESPACE.fullmatch(spelled):
        return _failed(
            record, f"the entry point {spelled!r} of {described} must be lower-case letters, digits and _"
        )
    # Left-over metadata may stand beside the real one: the first that loads is the plugin.
    attempts = []
    for claim in {claim.entry_point.value: claim for claim in claims}.values():
        module_name = claim.entry_point.value.partition(":")[0].strip()
        attempts.append(_load_module(namespace, claim.owner, module_name, claim.location))
        if attempts[-1].status == "ok":
            return attempts[-1]
    return attempts[0]


def _load_module(namespace: str, owner: str, module_name: str, location: str) -> PluginRecord:
    record = PluginRecord(namespace, owner, location)
    with _contained(record):
        _register(record, importlib.import_module(module_name), own_module=False)
    return record


def _load_file(path: Path) -> PluginRecord:
    record = PluginRecord("local", f"the file {path.name}", str(path))
    with _contained(record):
        if not path.is_file():
            raise PluginError(f"there is no file {path}")
        # The digest keeps two files of one name apart; the plain stem is what the file's own targets say.
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        spec = importlib.util.spec_from_file_location(f"_sslkit_local_{digest}_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise PluginError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look their module up
        spec.loader.exec_module(module)
        module.__name__ = path.stem
        _register(record, module, own_module=True)
    return record


def _register(record: PluginRecord, module: ModuleType, *, own_module: bool) -> None:
    api = getattr(module, "SSLKIT_API", None)
    if api not in SUPPORTED_APIS:
        wanted = " or ".join(map(str, SUPPORTED_APIS))
        raise PluginError(
            f"{module.__name__} says SSLKIT_API = {api!r}; this sslkit ({sslkit.__version__}) speaks {wanted}"
        )
    manager = pluggy.PluginManager("sslkit")
    manager.add_hookspecs(hookspecs.PluginHooks)
    manager.register(module, record.namespace)
    manager.check_pending()
    if not manager.hook.sslkit_register.get_hookimpls():
        raise PluginError(f"{module.__name__} has no @hookimpl sslkit_register(register)")
    register = Register(record.namespace, record.owner, module if own_module else None)
    manager.hook.sslkit_register(register=register)
    record.components = register.components
    record.renamings = register.renamings


@contextlib.contextmanager
def _contained(record: PluginRecord) -> Iterator[None]:
    """Run a plugin's code so that whatever it does ends as a row: raise, exit, print, change folder."""
    folder = Path.cwd()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    except (Exception, SystemExit) as error:
        reason = (
            one_line(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {one_line(error)}"
        )
        _failed(record, reason)
        record.traceback = traceback.format_exc()
    notes = []
    if printed.tell():
        notes.append(f"printed {printed.tell():,} characters while it was imported (hidden)")
    if Path.cwd() != folder:
        notes.append(f"changed the working folder to {Path.cwd()} (changed back)")
        os.chdir(folder)
    record.reason = "; ".join(filter(None, [record.reason, *notes]))


def _failed(record: PluginRecord, reason: str) -> PluginRecord:
    record.status = "failed"
    record.reason = reason
    return record
