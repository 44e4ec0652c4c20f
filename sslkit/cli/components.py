"""List the components by kind, or show one with its options and a recipe table to paste.

Examples:
  sslkit components
  sslkit components objective
  sslkit components simclr.nt_xent
  sslkit components schedule --json

--json: {schema: 1, components: [{kind, name, summary, target, owner, version, reason, engine, options}]}
  owner, version: of the distribution; reason: why the component cannot be used, else empty
  engine: what the engine gives it; options: [{name, type, required, default, doc}]
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sslkit.registry.discover import Registry
    from sslkit.registry.register import Component


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", help="a component's full name, or a kind such as objective")
    parser.add_argument("--json", action="store_true", help="write JSON, for programs; imports what it lists")


def main(arguments: argparse.Namespace) -> int:
    """Print the list, or one component."""
    from sslkit.registry.discover import Registry
    from sslkit.registry.register import KINDS
    from sslkit.text import safe_text

    registry = Registry.discover()
    is_list = arguments.name is None or arguments.name in KINDS
    chosen = registry.components(arguments.name) if is_list else _named(registry, arguments.name)
    if arguments.json:
        said = {"schema": 1, "components": [_as_json(component, registry) for component in chosen]}
        sys.stdout.write(json.dumps(said, indent=2, default=str) + "\n")
    elif is_list:
        sys.stdout.write("\n".join([*_listed(chosen), *_unusable(registry)]) + "\n")
    else:
        sys.stdout.write(safe_text("\n".join(_described(component) for component in chosen)))
    return 0


def _named(registry: Registry, name: str) -> list[Component]:
    from sslkit.errors import PluginError
    from sslkit.registry.register import KINDS
    from sslkit.text import did_you_mean

    found = registry.named(name)
    if not found:
        known = [*KINDS, *(component.name for component in registry.components())]
        namespace = name.partition(".")[0]
        records = registry.plugin(namespace)
        for record in records:
            if record.status != "ok":
                raise PluginError(f'plugin "{namespace}" ({record.owner}) cannot be used: {record.reason}')
        if name == namespace and records:
            raise PluginError(f'"{name}" is a plugin and no component; type: sslkit plugins {name}')
        if name != namespace and not records:
            raise PluginError(
                f'there is no component "{name}": no plugin "{namespace}" is installed; see: sslkit plugins'
            )
        raise PluginError(f'there is no component "{name}"{did_you_mean(name, known)}')
    return found


def _listed(components: Sequence[Component]) -> list[str]:
    """Return a list: below each kind its components, with who owns them."""
    from sslkit.cli.rows import aligned

    lines, kind = [], ""
    rows = aligned([(each.name, each.owner, each.summary) for each in components], indent=2)
    for component, row in zip(components, rows, strict=True):
        if component.kind != kind:
            kind = component.kind
            lines.append(kind)
        lines.append(row)
    return lines


def _unusable(registry: Registry) -> list[str]:
    from sslkit.text import one_line

    return [
        one_line(f"cannot be used: {record.namespace} ({record.owner}): {record.reason}", 1000)
        for record in registry.records
        if record.status != "ok"
    ]


def _as_json(component: Component, registry: Registry) -> dict[str, Any]:
    from sslkit.errors import PluginError
    from sslkit.registry.options import signature_of

    record = next(record for record in registry.records if component in record.components)
    reason, engine, options = "", [], []
    try:
        signature = signature_of(component)
        engine = list(signature.engine)
        options = [
            {"name": each.name, "type": each.annotation, "required": each.required, "default": each.default,
             "doc": each.meaning}
            for each in signature.options()
        ]  # fmt: skip
    except PluginError as error:
        reason = str(error)
    return {
        "kind": component.kind,
        "name": component.name,
        "summary": component.summary,
        "target": component.target,
        "owner": record.distribution,
        "version": record.version,
        "reason": reason,
        "engine": engine,
        "options": options,
    }


def _described(component: Component) -> str:
    from sslkit.registry.options import signature_of

    signature = signature_of(component)
    lines = [
        f"{component.name}  ({component.kind}, {component.owner})",
        component.summary,
        f"defined in {_place(component)}",
    ]
    if signature.engine:
        lines.append(f"given by the engine: {', '.join(signature.engine)}")
    lines.append("options:" if signature.options() else "no options")
    for option in signature.options():
        default = "required" if option.required else f"default {_toml(option.default)}"
        lines.append(f"  {option.name}: {option.annotation}, {default}")
        if option.meaning:
            lines.append(f"      {option.meaning}")
    return "\n".join([*lines, "", "to paste into a recipe:", "", *_snippet(component), ""])


def _place(component: Component) -> str:
    import inspect

    factory = component.load()
    try:
        return f"{inspect.getsourcefile(factory)}:{inspect.getsourcelines(factory)[1]}"
    except (OSError, TypeError):
        return component.target


def _snippet(component: Component) -> list[str]:
    from sslkit.recipe.schema import SLOTS
    from sslkit.registry.options import signature_of

    headers = {
        "schedule": "[pretrain.schedule.learning_rate]",
        "callback": "[[pretrain.callbacks]]",
        "evaluation": "[[evaluate]]",
        "exporter": "[[export]]",
    }
    lines = [headers.get(component.kind, f"[pretrain.{component.kind}]"), f'name = "{component.name}"']
    keys = next(model for kind, model in SLOTS.values() if kind == component.kind)
    for name, info in keys.model_fields.items():
        if name == "name" or (name == "folder" and "root" not in signature_of(component).engine):
            continue
        if info.is_required():
            lines.append(f"{name} = ...  # {info.description}")
        elif info.default is None:
            lines.append(f"# {name} = ...  # {info.description}")
        else:
            lines.append(f"# {name} = {_toml(info.default)}  # {info.description}")
    for option in signature_of(component).options():
        if option.required:
            lines.append(f"{option.name} = ...  # {option.annotation}")
        elif option.default is None:
            lines.append(f"# {option.name} = ...  # {option.annotation}")
        else:
            lines.append(f"{option.name} = {_toml(option.default)}")
    return lines


def _toml(value: Any) -> str:
    import tomli_w

    if value is None:
        return "left out"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()
