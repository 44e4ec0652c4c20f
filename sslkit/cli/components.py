"""List the components, or show one with its options and a recipe table to paste.

Examples:
  sslkit components
  sslkit components objective
  sslkit components simclr.nt_xent
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit.registry.register import Component


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", help="a component's full name, or a kind such as objective")


def main(arguments: argparse.Namespace) -> int:
    """Print the list, or one component."""
    from sslkit.errors import PluginError
    from sslkit.registry.discover import Registry
    from sslkit.registry.register import KINDS
    from sslkit.text import did_you_mean, safe_text

    registry = Registry.discover()
    if arguments.name is None or arguments.name in KINDS:
        components = registry.components(arguments.name)
        width = max((len(component.name) for component in components), default=0)
        for component in components:
            sys.stdout.write(safe_text(f"{component.kind:10}  {component.name:{width}}  {component.summary}\n"))
        return 0
    found = registry.named(arguments.name)
    if not found:
        known = [*KINDS, *(component.name for component in registry.components())]
        namespace = arguments.name.partition(".")[0]
        for record in registry.plugin(namespace):
            if record.status != "ok":
                raise PluginError(f'plugin "{namespace}" ({record.owner}) cannot be used: {record.reason}')
        raise PluginError(f'there is no component "{arguments.name}"{did_you_mean(arguments.name, known)}')
    sys.stdout.write(safe_text("\n".join(_described(component) for component in found)))
    return 0


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
