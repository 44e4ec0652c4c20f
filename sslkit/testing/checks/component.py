"""What every component promises, whatever its kind: it can be found, imported, read and built."""

from __future__ import annotations

import inspect

from sslkit.errors import PluginError
from sslkit.registry.options import signature_of
from sslkit.registry.register import ENGINE_ARGUMENTS
from sslkit.testing.subject import Subject

_HIDING = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_POSITIONAL = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)


def target_imports(subject: Subject) -> None:
    """Its string target leads to something that can be called."""
    component = subject.component
    try:
        factory = component.load()
    except PluginError as error:
        subject.fail("be imported", str(error), f"register it as package.module:Name; it says {component.target!r}")
    subject.require(callable(factory), "be a class or function", f"it is {factory!r}", "register what makes it")


def lives_in_a_file_of_its_name(subject: Subject) -> None:
    """Who reads a recipe finds the component without a search."""
    if subject.component.module is not None:
        subject.skip("is a plugin file's own")
    file = subject.component.target.partition(":")[0].rpartition(".")[2]
    subject.require(
        file == subject.short_name,
        f"live in {subject.short_name}.py",
        f"its target is {subject.component.target}",
        "call file and component alike",
    )


def summary_is_one_line(subject: Subject) -> None:
    """It has to fit into the lists of `sslkit components`."""
    summary = subject.component.summary
    subject.require(
        summary.strip() and "\n" not in summary and len(summary) <= 120,
        "have a summary of one line, at most 120 characters",
        f"it is {summary!r}",
        "say what it is in one sentence, where it is registered",
    )


def takes_no_kwargs(subject: Subject) -> None:
    """Options that are not named cannot be checked."""
    for parameter in _parameters(subject):
        subject.require(
            parameter.kind not in _HIDING,
            "name every option",
            f"it takes {parameter}",
            "name each option behind a *; a library's options go into one table, such as timm_options",
        )


def positional_parameters_come_from_the_engine(subject: Subject) -> None:
    """All others are options, and keyword-only."""
    given = ENGINE_ARGUMENTS[subject.component.kind]
    for parameter in _parameters(subject):
        subject.require(
            parameter.kind not in _POSITIONAL or parameter.name in given,
            f"take {', '.join(given) or 'nothing'} from the engine",
            f"{parameter.name} is positional",
            "put it behind a * if it is an option",
        )


def every_option_has_a_type(subject: Subject) -> None:
    """The recipe's values are checked against it."""
    for parameter in _options(subject):
        subject.require(
            parameter.annotation is not parameter.empty,
            "annotate every option",
            f"{parameter.name} has no type",
            "write it, with its range: Annotated[float, Gt(0)]",
        )
    try:
        signature_of(subject.component)
    except PluginError as error:
        subject.fail("have options that a recipe can be checked against", str(error), "see the rules of components")


def every_option_is_explained(subject: Subject) -> None:
    """`sslkit components` shows what the docstring says under `Args:`."""
    meanings = signature_of(subject.component).meanings
    for parameter in _options(subject):
        subject.require(
            meanings.get(parameter.name),
            "explain every option",
            f"{parameter.name} has no line under Args: of the docstring",
            "write what it is, its unit, and where its default is from",
        )


def can_be_built_from_a_recipe(subject: Subject) -> None:
    """A tiny recipe that names it is accepted, and everything in it can be built."""
    recipe = subject.recipe()
    try:
        subject.build()
    except Exception as error:
        subject.fail(
            "be built from a recipe",
            f"that fails: {type(error).__name__}: {error}",
            f"give it options or partners that fit: the recipe is {recipe.source}",
        )


def _parameters(subject: Subject) -> list[inspect.Parameter]:
    return list(inspect.signature(subject.component.load()).parameters.values())


def _options(subject: Subject) -> list[inspect.Parameter]:
    return [parameter for parameter in _parameters(subject) if parameter.kind is parameter.KEYWORD_ONLY]
