"""The reference of public Python names, as plain Markdown: it reads the same in a clone and on a site.

Enters: modules and names of theirs. Leaves: for each a heading, its signature, and its docstring with sections turned
into lists; of classes their public members too. Called by `generate.py`.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

_WIDTH: Final = 88  # of a signature on one line
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples):$")
_HEADINGS: Final = {"Args": "Arguments", "Example": "Example"}


def entry(page: ModuleType, name: str) -> Iterator[str]:
    """Yield the lines of one public name.

    Args:
        page: The module that it is imported from.
        name: Of it.
    """
    what = getattr(page, name)
    yield from (f"### {name}", "")
    if not (inspect.isclass(what) or inspect.isfunction(what)):
        source, text = _constant(page, name)
        yield from ("```python", source, "```", "", *_markdown(text), "")
        return
    yield from ("```python", _signature(name, what), "```", "", *_markdown(_docstring(what)), "")
    for member, value in vars(what).items() if inspect.isclass(what) else ():
        function = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
        if member.startswith("_") or not inspect.isfunction(function) or not _docstring(function):
            continue
        shown = _signature(member, function, bound=not isinstance(value, staticmethod))
        yield from (f"#### {name}.{member}", "")
        if not isinstance(value, property):
            yield from ("```python", shown, "```", "")
        yield from (*_markdown(_docstring(function)), "")


def _docstring(what: Any) -> str:
    return inspect.cleandoc(what.__doc__) if what.__doc__ else ""


def _signature(name: str, what: Any, *, bound: bool = False) -> str:
    """Return how something is called, one parameter a line where it is long."""
    if inspect.isclass(what) and issubclass(what, BaseException):
        return f"class {name}({what.__mro__[1].__name__})"
    if inspect.isclass(what) and getattr(what, "_is_protocol", False):
        return f"class {name}(Protocol)"
    signature = inspect.signature(what)
    parameters = list(signature.parameters.values())[1 if bound else 0 :]
    shown = [_parameter(parameter) for parameter in parameters]
    positional = [p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters]
    if any(p.kind is p.KEYWORD_ONLY for p in parameters) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        shown.insert(sum(positional), "*")
    returned = signature.return_annotation
    end = "" if inspect.isclass(what) or returned is signature.empty else f" -> {_type(returned)}"
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in shown), f"){end}"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    has_type, has_default = (value is not parameter.empty for value in (parameter.annotation, parameter.default))
    text = stars + parameter.name + (f": {_type(parameter.annotation)}" if has_type else "")
    if not has_default:
        return text
    default = "<factory>" if "factory" in repr(parameter.default) else repr(parameter.default)
    return f"{text}{' = ' if has_type else '='}{default}"


def _type(annotation: Any) -> str:
    """Return a type as its source has it, without what only a checker of ranges reads."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    while (start := text.find("Annotated[")) >= 0:
        depth, comma, end = 0, -1, start + len("Annotated[")
        for end in range(start + len("Annotated["), len(text)):
            if text[end] == "," and depth == 0 and comma < 0:
                comma = end
            depth += (text[end] in "[(") - (text[end] in "])")
            if depth < 0:
                break
        text = text[:start] + text[start + len("Annotated[") : comma] + text[end + 1 :]
    return text


def _constant(page: ModuleType, name: str) -> tuple[str, str]:
    """Return the assignment of a name that is neither class nor function, and the docstring behind it."""
    homes = [module for path, module in sys.modules.items() if path.startswith(page.__name__) and name in vars(module)]
    for module in homes:
        source = inspect.getsource(module)
        body = ast.parse(source).body
        for statement, behind in zip(body, [*body[1:], None], strict=True):
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if isinstance(statement, ast.Assign | ast.AnnAssign) and getattr(targets[0], "id", None) == name:
                is_text = isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
                return ast.get_source_segment(source, statement) or "", inspect.cleandoc(
                    behind.value.value
                ) if is_text else ""
    raise SystemExit(f"docs/python_api.py: {name} is nowhere assigned")


def _markdown(docstring: str) -> Iterator[str]:
    """Yield a docstring's lines, its sections as lists."""
    lines = docstring.split("\n")
    position = 0
    while position < len(lines):
        match = _SECTION.match(lines[position])
        position += 1
        if match is None:
            yield lines[position - 1]
            continue
        section = []
        while position < len(lines) and (not lines[position].strip() or lines[position].startswith("    ")):
            section.append(lines[position][4:])
            position += 1
        yield from (f"**{_HEADINGS.get(match[1], match[1])}**", "")
        yield from _items(section) if match[1] in ("Args", "Attributes", "Raises") else section
        if section and section[-1]:
            yield ""


def _items(section: list[str]) -> Iterator[str]:
    for line in section:
        match = re.match(r"^([\w.*, |]+?):(?: (.*))?$", line)
        if match is not None:
            yield f"- `{match[1]}`: {match[2] or ''}"
        else:
            yield f"  {line.strip()}" if line.strip() else ""
