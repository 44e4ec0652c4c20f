"""Which checks a plugin has to pass: those of its kind for each of its components.

Enters: a namespace. Leaves: `Check`s. Called by authors, through `sslkit.testing`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from sslkit.errors import PluginError
from sslkit.registry.discover import Registry
from sslkit.registry.load import PluginRecord
from sslkit.registry.register import KINDS, Component
from sslkit.testing.check import Check
from sslkit.text import did_you_mean

Tables = Mapping[str, Mapping[str, Any]]


def plugin_checks(
    namespace: str,
    *,
    options: Tables | None = None,
    recipes: Tables | None = None,
    expected_failures: Mapping[str, str] | None = None,
    plugins: Sequence[str | Path] = (),
) -> list[Check]:
    """Return the conformance checks of a plugin: call each, or hand them to `pytest.mark.parametrize`.

    Every component is examined in a tiny recipe, resolved and built as any recipe is: toy backbone, head and objective,
    two crops of 32 pixels, 16 images a step.

    Args:
        namespace: Of an installed plugin, such as "simclr"; or "local" for plugin files.
        options: Of components, by their name without the namespace, or "kind name" where two kinds share one:
            required ones, or cheaper ones than the defaults, such as `{"two_crops": {"crop_on": "device"}}`.
        recipes: By the same names, pieces of recipe to merge onto the tiny one, for what needs other partners:
            `{"dino": {"pretrain": {"views": {"name": "simclr.multi_crop", ...}}}}`.
        expected_failures: Name of a check to the reason why it fails. It then has to: one that passes is an error.
        plugins: Plugin files, as a recipe lists them.

    Raises:
        PluginError: There is no such plugin, component or check; names the nearest one.
    """
    files = tuple(Path(path).resolve() for path in plugins)
    records = _records(namespace, files)
    components = [component for record in records for component in record.components]
    _require_known("options", options or {}, _names(components))
    _require_known("recipes", recipes or {}, _names(components))
    examinations = dict(_examinations(namespace, records, files, options or {}, recipes or {}))
    reasons = dict(expected_failures or {})
    _require_known("expected_failures", reasons, examinations)
    return [Check(name, examine, reasons.get(name)) for name, examine in examinations.items()]


def checks_of(kind: str) -> dict[str, Callable[..., None]]:
    """Return the checks of a kind, by what they say: the public functions of its file, underscores read as blanks."""
    module = import_module(f"sslkit.testing.checks.{kind}")
    own = [
        value for value in vars(module).values() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    return {function.__name__.replace("_", " "): function for function in own if not function.__name__.startswith("_")}


def _examinations(
    namespace: str, records: Sequence[PluginRecord], files: tuple[Path, ...], options: Tables, recipes: Tables
) -> Iterator[tuple[str, Callable[[], None]]]:
    from sslkit.testing.subject import Subject  # the engine, and so torch

    for record in records:
        for title, function in checks_of("plugin").items():
            yield f"plugin {namespace}: {title}", partial(function, record, files)
        order = {kind: position for position, kind in enumerate(KINDS)}
        for component in sorted(record.components, key=lambda component: order[component.kind]):
            both = [f"{component.kind} {_short(component)}", _short(component)]
            chosen, piece = (
                next((tables[name] for name in both if name in tables), {}) for tables in (options, recipes)
            )
            subject = Subject(component, chosen, piece, files)
            for title, function in checks_of("component").items():
                yield f"{both[0]}: {title}", partial(function, subject)
            for title, function in checks_of(component.kind).items():
                yield f"{both[0]}: {title}", partial(subject.examined_by, function)


def _records(namespace: str, files: tuple[Path, ...]) -> list[PluginRecord]:
    registry = Registry.discover(files)
    records = registry.plugin(namespace)
    if not records:
        known = [record.namespace for record in registry.records]
        raise PluginError(
            f'there is no plugin "{namespace}"{did_you_mean(namespace, known)}; install it first: pip install -e .'
        )
    return records


def _names(components: Iterable[Component]) -> list[str]:
    return [name for each in components for name in (_short(each), f"{each.kind} {_short(each)}")]


def _short(component: Component) -> str:
    return component.name.partition(".")[2]


def _require_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            raise PluginError(f"{what}: there is no {name!r}{did_you_mean(name, names)}")
