"""One plugin, from its module or file to a row: what it contributes, or why it cannot.

Enters: a module name, or a file that a recipe lists. Leaves: a `PluginRecord`; whatever the plugin's code does while it
is imported, it ends as a row. Called by `discover`, and for files by a spawned worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

import pluggy

import sslkit
from sslkit.errors import PluginError
from sslkit.registry import hookspecs
from sslkit.registry.register import Component, Register
from sslkit.text import one_line

SUPPORTED_APIS: Final = (1,)

_LOCAL: Final = "_sslkit_local_"
_HOOK: Final = "sslkit_register"


@dataclass
class PluginRecord:
    """One row of `sslkit plugins`.

    Attributes:
        namespace: First part of its components' names.
        distribution: Its name; the names and versions of all where several claim the namespace.
        version: Of the distribution; empty for a file.
        location: The folder that an import takes it from; that of its metadata if nothing is imported; or the file.
        status: `ok`, `failed` or `conflict`.
        reason: Why it is not ok; for an ok plugin, what it did that it should not have.
        api: What it says as `SSLKIT_API`; None if nothing, or if it could not be asked.
        traceback: The full traceback of a failed import.
        components: What it registered; empty unless ok.
        renamings: (kind, old full name) -> new full name.
    """

    namespace: str
    distribution: str
    version: str
    location: str
    status: Literal["ok", "failed", "conflict"] = "ok"
    reason: str = ""
    api: int | None = None
    traceback: str = ""
    components: list[Component] = field(default_factory=list)
    renamings: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}".strip()

    def refuse(self, status: Literal["failed", "conflict"], reason: str) -> PluginRecord:
        """Make it a row that contributes nothing."""
        self.status, self.reason = status, reason
        self.components, self.renamings = [], {}
        return self


def load_module(record: PluginRecord, module_name: str) -> PluginRecord:
    """Import an installed plugin and let it register; return its row."""
    with _contained(record):
        _register(record, importlib.import_module(module_name), own_module=False)
    return record


def load_file(path: Path, others: Sequence[PluginRecord] = ()) -> PluginRecord:
    """Run a plugin file and let it register; a component that one of the others has already is refused."""
    record = PluginRecord("local", f"the file {path.name}", "", str(path))
    with _contained(record):
        if not path.is_file():
            raise PluginError(f"there is no file {path}")
        # The digest keeps two files of one name apart; the plain stem is what the file's own targets say.
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        spec = importlib.util.spec_from_file_location(f"{_LOCAL}{digest}_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise PluginError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look their module up
        spec.loader.exec_module(module)
        module.__name__ = path.stem
        _register(record, module, own_module=True)
        owners = {(known.kind, known.name): known.owner for other in others for known in other.components}
        for component in record.components:
            if (component.kind, component.name) in owners:
                owner = owners[component.kind, component.name]
                raise PluginError(f"{component.kind} {component.name} is registered by {owner} already")
    return record


def loaded_files() -> list[Path]:
    """Return the plugin files of this process; a spawned worker loads them before it unpickles their objects."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_LOCAL)]
    return [Path(module.__file__) for module in modules if module.__file__ is not None]


def _register(record: PluginRecord, module: ModuleType, *, own_module: bool) -> None:
    _check_api(record, module)
    manager = pluggy.PluginManager("sslkit")
    manager.add_hookspecs(hookspecs.PluginHooks)
    for name in vars(module):
        if name != _HOOK and manager.parse_hookimpl_opts(module, name) is not None:
            raise PluginError(f"{module.__name__}: there is no hook {name}; write {_HOOK}(register)")
    try:
        manager.register(module, record.namespace)
    except pluggy.PluginValidationError:
        signature = inspect.signature(getattr(module, _HOOK))
        raise PluginError(
            f"{module.__name__} has {_HOOK}{signature}, but it is given register and nothing else: "
            f"write {_HOOK}(register)"
        ) from None
    if not manager.hook.sslkit_register.get_hookimpls():
        raise PluginError(f"{module.__name__} has no @hookimpl {_HOOK}(register)")
    register = Register(record.namespace, record.owner, module if own_module else None)
    manager.hook.sslkit_register(register=register)
    record.components = register.components
    record.renamings = register.renamings


def _check_api(record: PluginRecord, module: ModuleType) -> None:
    api = getattr(module, "SSLKIT_API", None)
    wanted = " or ".join(map(str, SUPPORTED_APIS))
    if api is None:
        raise PluginError(
            f"{module.__name__} does not say which SSLKIT_API it speaks: write SSLKIT_API = {wanted} in it"
        )
    record.api = api if isinstance(api, int) else None
    if api not in SUPPORTED_APIS:
        newer = isinstance(api, int) and api > max(SUPPORTED_APIS)
        advice = f"install a newer {'sslkit' if newer else record.distribution}"
        if not isinstance(api, int):
            advice = "write it as a whole number"
        raise PluginError(
            f"{module.__name__} says SSLKIT_API = {one_line(repr(api), 40)}; this sslkit ({sslkit.__version__}) speaks "
            f"{wanted}: {advice}"
        )


@contextlib.contextmanager
def _contained(record: PluginRecord) -> Iterator[None]:
    """Run a plugin's code so that whatever it does ends as a row: raise, exit, print, change folder."""
    folder, hidden = _working_folder(), _Hidden()
    try:
        with contextlib.redirect_stdout(hidden), contextlib.redirect_stderr(hidden):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what test tools raise, are no Exception
        if isinstance(error, PluginError):
            record.refuse("failed", one_line(error))
        else:
            *_, frame = traceback.extract_tb(error.__traceback__)
            place = f" ({Path(frame.filename).name}:{frame.lineno})"
            record.refuse("failed", f"{type(error).__name__}: {one_line(error)}{place}")
        record.traceback = traceback.format_exc()
    notes = []
    if hidden.num_characters:
        notes.append(f"printed {hidden.num_characters:,} characters while it was imported (hidden)")
    if folder is not None and _working_folder() != folder:
        notes.append(f"changed the working folder to {_working_folder()} (changed back)")
        os.chdir(folder)
    record.reason = "; ".join(filter(None, [record.reason, *notes]))


class _Hidden(io.StringIO):
    """Stands in for the terminal: counts what is written and forgets it."""

    num_characters = 0

    def write(self, text: str) -> int:
        self.num_characters += len(text)
        return len(text)


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # somebody has removed it
        return None
