"""What a plugin contributes: components with their kinds, names and targets.

Enters: string targets from a plugin's `sslkit_register`. Leaves: `Component` rows that know how to import
themselves. Called by `discover`, which gives every plugin a `Register` of its own.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from sslkit.errors import PluginError
from sslkit.text import did_you_mean, one_line

# Kind of component -> the positional parameters its factory may declare; the engine gives those by name.
ENGINE_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "views": (),
    "backbone": (),
    "head": ("in_dim", "num_classes"),
    "objective": ("dim", "num_samples", "num_classes"),
    "method": ("backbone", "head", "objective", "num_samples", "num_classes"),
    "optimizer": ("params",),
    "schedule": (),
    "data": ("root",),
    "evaluation": (),
    "exporter": (),
    "callback": ("data",),
}
KINDS: Final = tuple(ENGINE_ARGUMENTS)

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Component:
    """A registered component, known without importing it.

    Attributes:
        kind: One of `KINDS`.
        name: Full name, `namespace.component`.
        target: Where its factory is, `package.module:Name`.
        summary: One line for lists.
        owner: Distribution and version, for messages.
        module: The module that holds the target, for files loaded by path.
    """

    kind: str
    name: str
    target: str
    summary: str
    owner: str
    module: ModuleType | None = field(default=None, repr=False)

    def load(self) -> Callable[..., Any]:
        """Import and return the factory.

        Raises:
            PluginError: The import fails, or the module has no such name.
        """
        module_name, _, attribute = self.target.partition(":")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no answer of a command's
                module = self.module or import_module(module_name)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.kind} {self.name} of {self.owner} cannot be imported: "
                f"{type(error).__name__}: {one_line(error)}"
                f"{'' if self.module else f'; see: sslkit components {self.name} -v'}"
            ) from error
        try:
            factory: Callable[..., Any] = getattr(module, attribute)
        except AttributeError:
            raise PluginError(
                f"{self.kind} {self.name} of {self.owner}: module {module_name} has no {attribute!r}"
                + did_you_mean(attribute, vars(module))
            ) from None
        return factory


class Register:
    """What `sslkit_register` receives: one method per kind.

    Args:
        namespace: First part of every name.
        owner: Distribution and version.
        module: For a plugin loaded from a file: the module that its own targets mean.
    """

    def __init__(self, namespace: str, owner: str, module: ModuleType | None = None) -> None:
        self.namespace = namespace
        self.owner = owner
        self.components: list[Component] = []
        self.renamings: dict[tuple[str, str], str] = {}
        self._module = module

    def views(self, name: str, target: str, *, summary: str) -> None:
        """Register a view generator."""
        self._add("views", name, target, summary)

    def backbone(self, name: str, target: str, *, summary: str) -> None:
        """Register a backbone."""
        self._add("backbone", name, target, summary)

    def head(self, name: str, target: str, *, summary: str) -> None:
        """Register a projection head."""
        self._add("head", name, target, summary)

    def objective(self, name: str, target: str, *, summary: str) -> None:
        """Register an objective."""
        self._add("objective", name, target, summary)

    def method(self, name: str, target: str, *, summary: str) -> None:
        """Register a method."""
        self._add("method", name, target, summary)

    def optimizer(self, name: str, target: str, *, summary: str) -> None:
        """Register an optimizer."""
        self._add("optimizer", name, target, summary)

    def schedule(self, name: str, target: str, *, summary: str) -> None:
        """Register a schedule."""
        self._add("schedule", name, target, summary)

    def data(self, name: str, target: str, *, summary: str) -> None:
        """Register a data component."""
        self._add("data", name, target, summary)

    def evaluation(self, name: str, target: str, *, summary: str) -> None:
        """Register an evaluation."""
        self._add("evaluation", name, target, summary)

    def exporter(self, name: str, target: str, *, summary: str) -> None:
        """Register an exporter."""
        self._add("exporter", name, target, summary)

    def callback(self, name: str, target: str, *, summary: str) -> None:
        """Register a callback."""
        self._add("callback", name, target, summary)

    def renamed(self, kind: str, *, old: str, new: str) -> None:
        """Let recipes go on saying `old` for a component that is now called `new`; they get a warning."""
        if kind not in KINDS:
            raise PluginError(f"renamed: there is no kind {kind!r}" + did_you_mean(kind, KINDS))
        self.renamings[kind, f"{self.namespace}.{old}"] = f"{self.namespace}.{new}"

    def __getattr__(self, name: str) -> Any:
        raise PluginError(f"register.{name}: there is no such kind{did_you_mean(name, (*KINDS, 'renamed'))}")

    def _add(self, kind: str, name: str, target: str, summary: str) -> None:
        where = f"register.{kind}({name!r}, ...)"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{where}: a component name is lower-case letters, digits and _")
        if not isinstance(target, str) or not _TARGET.fullmatch(target):
            raise PluginError(f"{where}: the target is a string, 'package.module:Name', not {target!r}")
        full_name = f"{self.namespace}.{name}"
        if any((known.kind, known.name) == (kind, full_name) for known in self.components):
            raise PluginError(f"{where}: registered twice")
        own = self._module is not None and target.partition(":")[0] == self._module.__name__
        module = self._module if own else None
        self.components.append(Component(kind, full_name, target, summary, self.owner, module))


def warn_renamed(kind: str, old: str, new: str) -> None:
    """Tell the user that a recipe uses a component's former name."""
    warnings.warn(f"{kind} {old} is now called {new}; change the recipe", FutureWarning, stacklevel=3)
