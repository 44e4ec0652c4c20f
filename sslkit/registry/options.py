"""A component's options: read from its factory's signature, checked strictly, all errors at once.

Keyword-only parameters are options; positional ones come from the engine. Enters: a factory and a recipe table.
Leaves: the complete options, or one problem per key. Called by `recipe.resolve`, `recipe.schema` and the
`components` command. One of the two rooms that know pydantic.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pydantic
from pydantic_core import ErrorDetails

from sslkit.errors import PluginError
from sslkit.registry.register import ENGINE_ARGUMENTS, Component
from sslkit.text import did_you_mean, one_line

STRICT = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
_OPTIONS = STRICT | pydantic.ConfigDict(validate_default=True)  # a default of 1 for a number is 1.0, said or not

_MODULE: Final = "torch.nn.modules.module"


REQUIRED: Final = "is required"

# What pydantic calls by JSON's words, by its type of error and whether a table was given.
_IN_TOML: Final = {
    ("list_type", True): "should be a list of tables: write it with two brackets, [[...]]",
    ("list_type", False): "should be a list, in brackets",
    ("tuple_type", True): "should be a list of tables: write it with two brackets, [[...]]",
    ("tuple_type", False): "should be a list, in brackets",
    ("dict_type", False): "should be a table",
}


class Problem(NamedTuple):
    """One thing wrong with a table.

    Attributes:
        key: The keys from the table down, such as `("temperature",)`.
        reason: What is wrong, and the nearest valid name.
    """

    key: tuple[str | int, ...]
    reason: str


@dataclass(frozen=True)
class Option:
    """One option as `sslkit components` shows it."""

    name: str
    annotation: str
    required: bool
    default: Any
    meaning: str


@dataclass(frozen=True)
class Signature:
    """What a factory takes.

    Attributes:
        engine: Names of its positional parameters.
        optional: Those of them that have a default.
        model: The pydantic model of its options.
        meanings: Option name to its text in the docstring.
    """

    engine: tuple[str, ...]
    optional: tuple[str, ...]
    model: type[pydantic.BaseModel]
    meanings: Mapping[str, str]

    def options(self) -> list[Option]:
        """Return the options in the order of the signature."""
        return [
            Option(
                name,
                _annotation_text(self.model.__annotations__[name]),
                info.is_required(),
                None if info.is_required() else info.default,
                self.meanings.get(name, ""),
            )
            for name, info in self.model.model_fields.items()
        ]


@cache
def signature_of(component: Component) -> Signature:
    """Return what a component's factory takes.

    Raises:
        PluginError: It cannot be imported, takes `**kwargs`, an option has no annotation, or a positional
            parameter is none that the engine gives.
    """
    factory = component.load()
    engine: list[str] = []
    optional: list[str] = []
    fields: dict[str, Any] = {}
    for parameter in _parameters(component, factory):
        where = f"{component.kind} {component.name} of {component.owner}: parameter {parameter.name!r}"
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise PluginError(f"{where}: *args and **kwargs hide options from validation; name each option")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise PluginError(f"{where}: the engine gives its arguments by name; leave the / out")
        if parameter.kind is parameter.KEYWORD_ONLY:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (_evaluated(parameter, factory, where), default)
            continue
        allowed = ENGINE_ARGUMENTS[component.kind]
        if parameter.name not in allowed:
            given = ", ".join(allowed) or "nothing"
            raise PluginError(
                f"{where} is positional, but what the engine gives to this kind is {given}; "
                "options are keyword-only: put them behind a *"
            )
        engine.append(parameter.name)
        if parameter.default is not parameter.empty:
            optional.append(parameter.name)
    try:
        with warnings.catch_warnings(action="ignore"):  # an option may well be called copy or schema
            model = pydantic.create_model(component.name, __config__=_OPTIONS, **fields)
    except Exception as error:  # a type that pydantic does not take
        raise PluginError(f"{component.kind} {component.name}: options cannot be read: {one_line(error)}") from error
    for name in fields.keys() - model.model_fields.keys():
        raise PluginError(f"{component.kind} {component.name}: no option can be called {name!r}")
    model.__annotations__ = {name: annotation for name, (annotation, _) in fields.items()}
    return Signature(tuple(engine), tuple(optional), model, _docstring_meanings(factory))


def check_options(
    component: Component, given: Mapping[str, Any], beside: Iterable[str] = ()
) -> tuple[dict[str, Any], list[Problem]]:
    """Check a recipe table's options.

    Args:
        component: Whose options.
        given: The table without the engine's keys.
        beside: The engine's keys, which a mistyped key may have meant.

    Returns:
        All options with defaults filled in, and the problems; the options are empty if there are any.

    Raises:
        PluginError: An option is called as a key of the engine in that table: it could never be set.
    """
    model, beside = signature_of(component).model, list(beside)
    for taken in sorted(model.model_fields.keys() & set(beside)):
        raise PluginError(
            f"{component.kind} {component.name} of {component.owner}: its option {taken!r} is a key of the engine in "
            "that table and could never be set; call it otherwise"
        )
    checked, problems = validate(model, given, beside)
    if checked is None:
        return {}, problems
    return {name: getattr(checked, name) for name in model.model_fields}, []


def validate(
    model: type[pydantic.BaseModel], given: Mapping[str, Any], beside: Iterable[str] = ()
) -> tuple[pydantic.BaseModel | None, list[Problem]]:
    """Check a table against a model; return the checked one, or one problem for every key that has any."""
    try:
        # As JSON text, because strict mode then takes an array for a tuple and still refuses "3" for a number.
        return model.model_validate_json(json.dumps(given, default=str)), []
    except pydantic.ValidationError as error:
        reasons: dict[tuple[str | int, ...], list[str]] = {}
        for details in error.errors(include_url=False):
            key, reason = _problem(details, model, given, beside)
            reasons.setdefault(key, []).append(reason)
        return None, [Problem(key, " or ".join(dict.fromkeys(found))) for key, found in reasons.items()]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the reason for an unknown key: the nearest known one, or all of them."""
    known = list(known)
    return "unknown key" + (did_you_mean(key, known) or f"; known here: {', '.join(known) or 'none'}")


def call(component: Component, options: Mapping[str, Any], engine: Mapping[str, Any]) -> Any:
    """Call a factory with the engine's arguments that it declares, and its options."""
    given = {name: engine[name] for name in signature_of(component).engine if name in engine}
    return component.load()(**given, **options)


def _parameters(component: Component, factory: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    if getattr(getattr(factory, "__init__", None), "__module__", "") == _MODULE:
        return ()  # a module without a constructor of its own has torch's, whose (*args, **kwargs) take nothing
    try:
        return inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{component.kind} {component.name}: {component.target} cannot be called") from error


def _evaluated(parameter: inspect.Parameter, factory: Callable[..., Any], where: str) -> Any:
    """Return the annotation itself; only options are evaluated, since positional types may be for checking only."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        raise PluginError(f"{where} is an option without a type; annotate it")
    if not isinstance(annotation, str):
        return annotation
    function = factory.__init__ if inspect.isclass(factory) else factory
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return eval(annotation, scope)  # the plugin's own source text, never a recipe's
    except Exception as error:
        raise PluginError(f"{where}: its type {annotation!r} cannot be read: {one_line(error)}") from error


def _problem(
    details: ErrorDetails, model: type[pydantic.BaseModel], given: Mapping[str, Any], beside: Iterable[str]
) -> Problem:
    location, kind = tuple(details["loc"]), details["type"]
    if kind == "extra_forbidden":
        known = [*_known_keys(model, location[:-1]), *(beside if len(location) == 1 else ())]
        return Problem(location, unknown_key(str(location[-1]), known))
    if kind == "missing":
        return Problem(location, REQUIRED)
    message = details["msg"].removeprefix("Input ").removeprefix("Value error, ")
    message = _IN_TOML.get((kind, isinstance(details.get("input"), dict)), message)
    return Problem(_within(given, location), f"{message}, got {_shown(details.get('input'))}")


def _within(given: Any, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return how much of pydantic's location is in the table: the rest names the branches of a union."""
    for length, part in enumerate(location):
        try:
            given = given[part]
        except (LookupError, TypeError):
            return location[:length]
    return location


def _known_keys(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the table at a path, looking through `Table | None` and arrays of tables."""
    fields: dict[str, Any] = {}
    for part in ("", *path):
        model = fields.get(str(part), model)
        fields = next(filter(None, map(_fields, (model, *typing.get_args(model)))), {})
    return list(fields)


def _fields(table: Any) -> dict[str, Any]:
    """Return the types of a table's keys, be it a pydantic model or a TypedDict; nothing if it is no table."""
    if hasattr(table, "__required_keys__"):
        return dict(table.__annotations__)
    return {info.alias or name: info.annotation for name, info in getattr(table, "model_fields", {}).items()}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _annotation_text(annotation: Any) -> str:
    """Return a type as a reader of recipes wants it: `number > 0`, `"a" or "b"`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join(filter(None, [_annotation_text(args[0]), *map(_constraint_text, args[1:])]))
    if origin is typing.Literal:
        return " or ".join(json.dumps(choice) for choice in args)
    if origin is tuple:
        inner = [_annotation_text(arg) for arg in args if arg is not ...]
        return f"[{', '.join(inner)}{', ...' if ... in args else ''}]"
    if origin is list and typing.get_origin(args[0]) is typing.Literal:
        return f"array ({_annotation_text(args[0])})"
    if origin in (dict, list):
        return {dict: "table", list: "array"}[origin]
    if args:  # a union
        return " or ".join("left out" if arg is type(None) else _annotation_text(arg) for arg in args)
    names = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", Any: "anything"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _constraint_text(constraint: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "of length >=", "max_length": "of length <="}
    bounds = [(sign, getattr(constraint, name, None)) for name, sign in signs.items()]
    return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


def _docstring_meanings(factory: Callable[..., Any]) -> dict[str, str]:
    """Return the `Args:` section of a Google docstring as name to text."""
    text = inspect.getdoc(factory) or ""
    if inspect.isclass(factory):
        text += "\n" + (inspect.getdoc(factory.__init__) or "")
    meanings: dict[str, str] = {}
    for section in re.findall(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, flags=re.MULTILINE):
        for name, meaning in re.findall(r"^ {4}(\w+)[^:\n]*:((?:.*\n?)(?:^ {5,}.*\n?)*)", section, re.MULTILINE):
            meanings.setdefault(name, " ".join(meaning.split()))
    return meanings
