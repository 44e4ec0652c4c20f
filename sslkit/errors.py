"""What sslkit raises on a user's mistake: one clear line each, no traceback at the terminal.

Everything here ends a command with exit code 2. Any other exception is a fault of sslkit or of a plugin and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


class SslkitError(Exception):
    """A mistake that the user can mend; the message says what, where, and what to type next."""


class RecipeError(SslkitError):
    """One or more problems of a recipe, all found before anything was built.

    Args:
        problems: One line each, as `file:line key: reason`.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class PluginError(SslkitError):
    """A plugin or component that cannot be found, loaded or called."""


class DataError(SslkitError):
    """Data that is missing, empty, unreadable or of the wrong shape."""


class AbsentError(DataError):
    """A split or set that is not there, which is no mistake where one may do without it."""


class RunError(SslkitError):
    """A run that cannot start, continue or write its results."""


class NonFiniteError(RunError):
    """A loss or gradient that is not a finite number; raised before it reaches the weights."""
