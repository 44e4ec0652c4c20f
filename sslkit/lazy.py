"""Names of a package's front page that load on first use, so that importing the page loads no library.

    if TYPE_CHECKING:
        from sslkit_mine.my_loss import MyLoss as MyLoss

    __all__ = ["MyLoss"]
    __getattr__, __dir__ = load_on_use(__name__, {"MyLoss": "sslkit_mine.my_loss"})

Enters: where each name is defined. Leaves: the two functions that Python calls for names a module does not have yet.
Called by front pages, while they are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def load_on_use(page: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package. Source: PEP 562.

    Args:
        page: The package's `__name__`.
        homes: For each public name, the module that defines it.
    """
    module = sys.modules[page]

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {page!r} has no attribute {name!r}", name=name, obj=module)
        value = getattr(import_module(homes[name]), name)
        setattr(module, name, value)  # from now on Python finds it by itself
        return value

    def names() -> list[str]:
        return sorted({*vars(module), *homes})

    return load, names
