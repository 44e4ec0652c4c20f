"""A component under examination, and what every check asks of it: a recipe around it, itself built, its name.

Enters: a registered component and its author's options. Leaves: recipes, built parts, and `ConformanceError`s that
begin with who it is. Made by `listing`; handed to every check.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from unittest import SkipTest

import torch

from sslkit.engine.build import Build, build
from sslkit.errors import PluginError, RecipeError
from sslkit.recipe.plan import Choice, PretrainPlan, Recipe
from sslkit.recipe.resolve import load_recipe
from sslkit.registry.register import Component
from sslkit.testing.check import ConformanceError
from sslkit.testing.recipes import tree_of, written

T = TypeVar("T")

CPU = torch.device("cpu")


@dataclass
class Subject:
    """A component, as its checks see it.

    Attributes:
        component: What is examined.
        options: Of its table.
        piece: Of a recipe, merged onto the tiny one.
        plugins: Plugin files that the recipe lists.
    """

    component: Component
    options: Mapping[str, Any] = field(default_factory=dict)
    piece: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    @property
    def short_name(self) -> str:
        """The name without its namespace."""
        return self.component.name.partition(".")[2]

    @property
    def label(self) -> str:
        """Who it is and where it is written: `objective simclr.nt_xent (NTXent, nt_xent.py:26)`."""
        name = f"{self.component.kind} {self.component.name}"
        try:
            factory = self.component.load()
            place = f"{inspect.getsourcefile(factory)}:{inspect.getsourcelines(factory)[1]}"
            return f"{name} ({getattr(factory, '__name__', factory)}, {place})"
        except (PluginError, TypeError, OSError):  # there is nothing, or nothing to show the source of
            return f"{name} ({self.component.target})"

    def fail(self, expected: str, found: str, advice: str) -> NoReturn:
        """Raise what is wrong: `<who> should <expected>, but <found>: <advice>`."""
        raise ConformanceError(f"{self.label} should {expected}, but {found}: {advice}")

    def require(self, condition: object, expected: str, found: str, advice: str) -> None:
        """Raise what is wrong unless the condition holds; see `fail`."""
        if not condition:
            self.fail(expected, found, advice)

    def skip(self, reason: str) -> NoReturn:
        """Say that there is nothing to examine."""
        raise SkipTest(f"{self.component.name} {reason}")

    def examined_by(self, function: Callable[[Subject], None]) -> None:
        """Call a check, unless no recipe can hold the component: one check says that already.

        Raises:
            SkipTest: It cannot be examined any further.
        """
        try:
            self.recipe()
        except ConformanceError:
            self.skip('is refused by its recipe: see its check "can be built from a recipe"')
        function(self)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was made for an earlier check, or make it."""
        if key not in self._kept:
            self._kept[key] = make()
        made: T = self._kept[key]
        return made

    def recipe_file(self, **pretrain: Any) -> Path:
        """Return the recipe's file; keys of [pretrain] may be changed."""
        key = repr(sorted(pretrain.items()))
        pieces = (self.piece, {"pretrain": pretrain})
        return self.once(key, lambda: written(tree_of(self.component, self.options, pieces, self.plugins)))

    def recipe(self, **pretrain: Any) -> Recipe:
        """Return the checked recipe; keys of [pretrain] may be changed."""
        path = self.recipe_file(**pretrain)
        try:
            return self.once(path, lambda: load_recipe(path))
        except RecipeError as error:
            reasons = "; ".join(problem.removeprefix(str(path)).lstrip(":0123456789 ") for problem in error.problems)
            namespace, _, name = self.component.name.partition(".")
            self.fail(
                "run in a tiny recipe",
                f"that is refused: {reasons}",
                f'pass what it needs, plugin_checks("{namespace}", options={{"{name}": {{...}}}}), or change the '
                f'tables around it with recipes={{"{name}": {{"pretrain": {{...}}}}}}',
            )

    def plan(self, **pretrain: Any) -> PretrainPlan:
        """Return the recipe's [pretrain]."""
        plan = self.recipe(**pretrain).pretrain
        assert plan is not None
        return plan

    def build(self, **pretrain: Any) -> Build:
        """Return everything that the recipe names, built by the engine on the CPU."""
        return build(self.recipe(**pretrain), device=CPU, workers=0)

    @property
    def choice(self) -> Choice:
        """The component as the recipe chose it, with all of its options."""
        recipe = self.recipe()
        return next(choice for choice in recipe.choices() if choice.component.name == self.component.name
                    and choice.component.kind == self.component.kind)  # fmt: skip
