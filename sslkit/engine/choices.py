"""From a recipe's component tables to components.

Enters: a `Choice`, and what the engine adds. Leaves: what its factory made, under a seed of its place in the recipe;
data, opened once. A fault names the place. Called by `build` and `check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslkit.engine.fit import MisfitError
from sslkit.engine.interfaces import Data
from sslkit.engine.randomness import component_seed, seeded
from sslkit.errors import DataError, PluginError, RunError, SslkitError
from sslkit.recipe.plan import Choice
from sslkit.registry.options import signature_of
from sslkit.registry.register import Component
from sslkit.text import one_line


def built(choice: Choice, seed: int, **engine: Any) -> Any:
    """Build a component under the seed of its place; a fault names the place."""
    with seeded(component_seed(seed, choice.path)):
        try:
            return choice.build(**engine)
        except SslkitError as error:
            error.args = (f"{choice.path} ({choice.component.name}): {error}",)
            raise
        except (TypeError, ValueError) as error:
            raise PluginError(f"{choice.path} ({choice.component.name}): {one_line(error)}") from error


@contextmanager
def naming_the_size(views: Choice) -> Iterator[None]:
    """Name the recipe's key behind an image size that the backbone refuses."""
    try:
        yield
    except MisfitError as error:
        keys = [key for key, value in views.options.items() if value == error.size and not isinstance(value, bool)]
        raise RunError(f"{views.path}.{keys[0]} = {error.size}: {error}" if keys else str(error)) from None


class OpenedData:
    """The data that a recipe's tables name: the same table twice is the same data, and shares its features.

    Args:
        data_root: What the recipe's `folder` keys are below.
        seed: The recipe's.
    """

    def __init__(self, data_root: Path | None, seed: int) -> None:
        self._data_root = data_root
        self._seed = seed
        self._opened: dict[str, Data] = {}

    def __contains__(self, choice: Choice) -> bool:
        """Return whether a table's data is open already."""
        return data_key(choice) in self._opened

    def open(self, choice: Choice) -> Data:
        """Return the data of a table."""
        key = data_key(choice)
        if key not in self._opened:
            self._opened[key] = open_data(choice, self._data_root, self._seed)
        return self._opened[key]

    def open_for_evaluation(self, choice: Choice) -> Data:
        """Return the data of a table, which has train and test images."""
        data = self.open(choice)
        for split in ("train", "test"):
            if len(data.split(split)) == 0:
                raise RunError(f"{choice.path}: the {split} split is empty")
        return data


def open_data(choice: Choice, data_root: Path | None, seed: int) -> Data:
    """Build a data component; its root is the recipe's `folder` below the data root.

    Raises:
        DataError: Neither is named, and the component reads a folder: it would be whatever one is in.
    """
    folder = choice.keys["folder"]
    if data_root is None and folder is None and reads_folder(choice.component):
        raise DataError(f"{choice.path}: no folder is named; say --data-root DIR, which may be .")
    root = (data_root or Path()) / Path(folder or ".").expanduser()
    opened: Data = built(choice, seed, root=root)
    return opened


def reads_folder(component: Component) -> bool:
    """Return whether a data component is made from a folder."""
    return "root" in signature_of(component).engine


def data_key(choice: Choice) -> str:
    """Return what tells the data of a table from others."""
    keys = {name: value for name, value in choice.keys.items() if name != "normalize"}  # the backbone's, not the data's
    return repr((choice.component.name, keys, choice.options))
