"""The run's log file, which also holds what was said before there was a folder for it.

Enters: what sslkit logs. Leaves: lines of `log.txt`. Called by `run`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from sslkit.text import safe_text

logger = logging.getLogger("sslkit")


class Log(MemoryHandler):
    """Keeps what is said until it is told a file."""

    def write_to(self, path: Path) -> None:
        """Write to a file what was said before, and from now on everything at once."""
        self._say_to(logging.FileHandler(path, encoding="utf-8"))

    def warnings(self) -> list[str]:
        """Return the warnings that are kept."""
        return [record.getMessage() for record in self.buffer if record.levelno >= logging.WARNING]

    def write_warnings(self) -> None:
        """Write warnings to the standard error: of a process that has no file."""
        self.setLevel(logging.WARNING)
        self.buffer = [record for record in self.buffer if record.levelno >= logging.WARNING]
        self._say_to(logging.StreamHandler())

    def _say_to(self, target: logging.Handler) -> None:
        target.setFormatter(_Safe("%(asctime)s %(levelname)s %(message)s"))
        self.setTarget(target)
        self.flush()

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        """Return whether to write at once: as soon as there is a file."""
        return self.target is not None


class _Safe(logging.Formatter):
    """Lets no file name drive the terminal that shows the log, nor add a line to it that looks like another one."""

    def format(self, record: logging.LogRecord) -> str:
        return safe_text(super().format(record)).replace("\n", "\n    ")


@contextmanager
def collecting() -> Iterator[Log]:
    """Listen to sslkit inside the block."""
    log = Log(capacity=sys.maxsize)
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.setLevel(level)
        logger.removeHandler(log)
        file = log.target
        log.close()
        if file is not None:
            file.close()
