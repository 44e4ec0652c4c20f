"""Options: what a signature says is what a recipe may say, strictly, with all errors at once."""

import sys
import types

import pytest
import torch

from sslkit.errors import PluginError
from sslkit.registry.options import call, check_options, signature_of
from sslkit.registry.register import Component

SOURCE = '''
from __future__ import annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from annotated_types import Ge, Gt, Interval, Le, MinLen
if TYPE_CHECKING:
    from nowhere import Tensor

class Full:
    """A component with every kind of option.

    Args:
        rate: How fast.
        count: How many, a text
            that goes on here
            and here.
        mode (str): Which: one of two.
        shape: A size.

            A second paragraph.
        sizes: Several.

    Raises:
        ValueError: never: this is no option.
    """

    def __init__(
        self, in_dim: Tensor, *, rate: Annotated[float, Gt(0)], count: Annotated[int, Interval(ge=1, le=9)] = 3,
        mode: Literal["fast", "slow"] = "fast", on: bool = False, shape: tuple[int, int] = (2, 3),
        sizes: Annotated[tuple[float, ...], MinLen(1)] = (1.0,), either: int | str = 1, maybe: float | None = None,
        table: dict[str, Any] = {}, place: Path | None = None, copy: int = 0, schema: str = "",
        name_map: list[str] = [], parts: Annotated[list[Literal["a", "b"]], MinLen(1)] = ["a"],
    ):
        """Take the options.

        Args:
            on: Whether.
        """
        self.given = dict(in_dim=in_dim, rate=rate, count=count, shape=shape, sizes=sizes, table=table, copy=copy)

def keyworded(*, rate: float = 1.0, **rest: int): ...
def listed(*rest: int): ...
def bare(*, rate=1.0): ...
def unknown_type(*, rate: Tensor = None): ...
def odd_type(*, rate: "int | 3 +" = 1): ...
def private(*, _rate: int = 1): ...
def positional(temperature, *, rate: float = 1.0): ...
def only(in_dim, /, *, rate: float = 1.0): ...
def parts(backbone, head=None, objective=None, *, rate: float = 1.0): return backbone, head, objective, rate
class Inherits(Full): ...
class Plain: ...
'''


@pytest.fixture(scope="module")
def component():
    module = types.ModuleType("options_source")
    sys.modules["options_source"] = module
    exec(SOURCE, vars(module))

    def made(attribute, kind="head"):
        return Component(kind, f"toy.{attribute.lower()}", f"options_source:{attribute}", "", "toy 1.0")

    yield made
    del sys.modules["options_source"]


def problems(component, **given):
    return {".".join(map(str, key)): reason for key, reason in check_options(component, {"rate": 1.0} | given)[1]}


ACCEPTED = [
    ("rate", 2, 2.0),
    ("rate", 1e-9, 1e-9),
    ("count", 9, 9),
    ("mode", "slow", "slow"),
    ("on", True, True),
    ("shape", [4, 5], (4, 5)),
    ("sizes", [1, 2.5], (1.0, 2.5)),
    ("either", "x", "x"),
    ("maybe", 1, 1.0),
    ("table", {"a": {"b": [1, "x"]}}, {"a": {"b": [1, "x"]}}),
    ("copy", 4, 4),
    ("schema", "s", "s"),
]


@pytest.mark.parametrize(("key", "given", "checked"), ACCEPTED)
def test_accepted(component, key, given, checked):
    options, found = check_options(component("Full"), {"rate": 1.0} | {key: given})
    assert found == []
    assert options[key] == checked
    assert type(options[key]) is type(checked)


REFUSED = [
    ("count", "3", 'should be a valid integer, got "3"'),
    ("count", True, "should be a valid integer, got true"),
    ("count", 1.0, "should be a valid integer, got 1.0"),
    ("count", 10, "should be less than or equal to 9, got 10"),
    ("count", 0, "should be greater than or equal to 1, got 0"),
    ("rate", "0.1", 'should be a valid number, got "0.1"'),
    ("rate", True, "should be a valid number, got true"),
    ("rate", 0, "should be greater than 0, got 0"),
    ("rate", float("nan"), "should be a finite number, got NaN"),
    ("rate", float("inf"), "should be a finite number, got Infinity"),
    ("on", 1, "should be a valid boolean, got 1"),
    ("on", "true", 'should be a valid boolean, got "true"'),
    ("mode", "fats", "should be 'fast' or 'slow', got \"fats\""),
    ("shape", 3, "should be a list, in brackets, got 3"),
    ("either", 1.5, "should be a valid integer, got 1.5 or should be a valid string, got 1.5"),
    ("table", [], "should be a table, got []"),
]


@pytest.mark.parametrize(("key", "given", "reason"), REFUSED)
def test_refused(component, key, given, reason):
    assert problems(component("Full"), **{key: given}) == {key: reason}


def test_an_element_of_an_array_is_named(component):
    assert problems(component("Full"), sizes=[1, 2, "x"]) == {"sizes.2": 'should be a valid number, got "x"'}
    assert list(problems(component("Full"), shape=[1])) == ["shape.1"]
    assert "at least 1 item" in problems(component("Full"), sizes=[])["sizes"]


def test_all_errors_at_once_with_suggestions(component):
    options, found = check_options(component("Full"), {"raet": 1.0, "cuont": 3, "on": 1, "folde": "x"}, ["folder"])
    assert options == {}
    assert {key[0]: reason for key, reason in found} == {
        "rate": "is required",
        "raet": 'unknown key; did you mean "rate"?',
        "cuont": 'unknown key; did you mean "count"?',
        "folde": 'unknown key; did you mean "folder"?',
        "on": "should be a valid boolean, got 1",
    }


def test_a_key_like_no_other_is_answered_with_those_there_are(component):
    assert problems(component("parts", "method"), qq=1) == {"qq": "unknown key; known here: rate"}
    assert problems(component("Plain")) == {"rate": "unknown key; known here: none"}


def test_a_long_value_is_cut(component):
    assert len(problems(component("Full"), mode="x" * 5000)["mode"]) < 150


def test_engine_arguments_are_read_but_not_evaluated(component):
    signature = signature_of(component("Full"))
    assert signature.engine == ("in_dim",)
    assert signature.optional == ()
    assert "in_dim" not in signature.model.model_fields
    assert signature_of(component("parts", "method")).optional == ("head", "objective")


def test_inherited_and_absent_constructors(component):
    assert signature_of(component("Inherits")).engine == ("in_dim",)
    assert signature_of(component("Plain")).options() == []


def test_a_module_without_a_constructor_of_its_own_has_no_options():
    class Bare(torch.nn.Module):
        pass

    module = types.ModuleType("toy")
    module.bare = Bare
    bare = Component("objective", "toy.bare", "toy:bare", "", "toy 1.0", module)
    assert signature_of(bare).options() == []
    assert isinstance(call(bare, {}, {"dim": 3}), Bare)


def test_a_missing_optional_part_does_not_shift_the_others(component):
    method = component("parts", "method")
    assert call(method, {"rate": 2.0}, {"backbone": "b", "objective": "o", "dim": 3}) == ("b", None, "o", 2.0)


def test_call_gives_options_and_engine_arguments(component):
    options, _ = check_options(component("Full"), {"rate": 1.0, "shape": [4, 5]})
    given = call(component("Full"), options, {"in_dim": 7, "unused": 1}).given
    assert given == {"in_dim": 7, "rate": 1.0, "count": 3, "shape": (4, 5), "sizes": (1.0,), "table": {}, "copy": 0}


FAULTY = [
    ("keyworded", r"parameter 'rest': \*args and \*\*kwargs hide options"),
    ("listed", r"\*args and \*\*kwargs"),
    ("bare", "'rate' is an option without a type; annotate it"),
    ("unknown_type", "its type 'Tensor' cannot be read: name 'Tensor' is not defined"),
    ("odd_type", "cannot be read"),
    ("private", "no option can be called '_rate'"),
    (
        "positional",
        "'temperature' is positional, but what the engine gives to this kind is in_dim, num_classes; options",
    ),
    ("only", "leave the / out"),
]


@pytest.mark.parametrize(("attribute", "reason"), FAULTY)
def test_faulty_factories_are_refused(component, attribute, reason):
    with pytest.raises(PluginError, match=reason) as caught:
        signature_of(component(attribute))
    assert f"head toy.{attribute}" in str(caught.value)


def test_what_is_no_factory_is_refused(component):
    with pytest.raises(PluginError, match="cannot be called"):
        signature_of(Component("head", "toy.x", "math:pi", "", "toy 1.0"))


def test_options_as_a_reader_sees_them(component):
    shown = {option.name: option for option in signature_of(component("Full")).options()}
    assert {name: option.annotation for name, option in shown.items()} == {
        "rate": "number > 0",
        "count": "integer >= 1 and <= 9",
        "mode": '"fast" or "slow"',
        "on": "true or false",
        "shape": "[integer, integer]",
        "sizes": "[number, ...] of length >= 1",
        "either": "integer or text",
        "maybe": "number or left out",
        "table": "table",
        "place": "path or left out",
        "copy": "integer",
        "schema": "text",
        "name_map": "array",
        "parts": 'array ("a" or "b") of length >= 1',
    }
    assert shown["rate"].required
    assert (shown["count"].required, shown["count"].default) == (False, 3)


def test_meanings_come_from_the_docstring(component):
    meanings = signature_of(component("Full")).meanings
    assert meanings["rate"] == "How fast."
    assert meanings["count"] == "How many, a text that goes on here and here."
    assert meanings["mode"] == "Which: one of two."
    assert meanings["shape"].startswith("A size.")
    assert meanings["sizes"] == "Several."
    assert meanings["on"] == "Whether."
    assert "ValueError" not in meanings
