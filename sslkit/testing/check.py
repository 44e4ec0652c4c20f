"""One promise of one component, as something to call.

Enters: a function that examines a subject. Leaves: nothing if the promise is kept, else one `ConformanceError` that
says what was expected of whom. Made by `listing`, called by an author's tests.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from sslkit.errors import SslkitError
from sslkit.text import one_line


class ConformanceError(AssertionError):
    """A component that does not keep a promise; the text says which, what was found, and what to do."""


class Check:
    """A promise of a component, examined when it is called.

    Called without arguments it returns, or raises `ConformanceError`. What a component does not offer, such as views
    that do not describe themselves, is skipped: `unittest.SkipTest`, which pytest shows as a skip.

    Args:
        name: Such as "objective nt_xent: two processes equal one".
        examine: Raises `ConformanceError` if the promise is broken.
        reason: Why it is known to fail; None if it should not.
    """

    def __init__(self, name: str, examine: Callable[[], None], reason: str | None = None) -> None:
        self.name = name
        self.reason = reason
        self._examine = examine

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Check {self.name}>"

    def __call__(self) -> None:
        """Examine the promise.

        Raises:
            ConformanceError: It is broken; or it was expected to be, and is kept.
            SkipTest: The component does not offer what the check is about.
        """
        if self.reason is None:
            self._examined()
            return
        try:
            self._examined()
        except ConformanceError as error:
            _expected_failure(f"{self.reason} ({one_line(error)})")
            return
        raise ConformanceError(
            f'"{self.name}" passes, but is listed as failing ({self.reason}): take it out of expected_failures'
        )

    def _examined(self) -> None:
        try:
            self._examine()
        except (ConformanceError, SkipTest):
            raise
        except Exception as error:
            kind = "" if isinstance(error, SslkitError) else f"{type(error).__name__}: "
            raise ConformanceError(f"{self.name}: this cannot be examined, {kind}{one_line(error, 2000)}") from error


def _expected_failure(reason: str) -> None:
    pytest: Any = sys.modules.get("pytest")
    if pytest is not None and "PYTEST_CURRENT_TEST" in os.environ:
        pytest.xfail(reason)
