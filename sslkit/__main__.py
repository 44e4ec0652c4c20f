"""`sslkit` and `python -m sslkit`: picks a command, and turns a user's mistake into one line and exit code 2."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from sslkit.cli import parser, silence_stdout
from sslkit.errors import SslkitError
from sslkit.text import one_line, safe_text

EXIT_MISTAKE: Final = 2
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Instead of the process's own.

    Returns:
        0; 2 for a user's mistake; 75 for a run that a signal stopped in good order; 130 for Ctrl-C.
    """
    if sys.stdout is None or sys.stderr is None:  # closed, as by >&-: the next file opened would take its place
        sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode gets escapes, not a traceback
    sys.excepthook = _show_fault
    namespace = _parse(arguments)
    try:
        code = _as_rank(namespace) if getattr(namespace, "exchange", None) is not None else namespace.run(namespace)
        sys.stdout.flush()
        return code
    except SslkitError as error:
        if namespace.verbose:
            sys.stderr.write(safe_text(traceback.format_exc()))
        for problem in getattr(error, "problems", [error]):
            sys.stderr.write(f"error: {one_line(problem, 1000)}\n")
        return getattr(error, "exit_code", EXIT_MISTAKE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, such as head -1, has gone
        silence_stdout()
        return 0


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the traceback of a fault of the program; what it says may come from outside."""
    sys.stderr.write(safe_text("".join(traceback.format_exception(kind, error, trace))))


def _as_rank(namespace: argparse.Namespace) -> int:
    """Run one of the processes that `sslkit run --nproc` has started: what goes wrong is said there."""
    from sslkit.launch.exchange import as_rank

    return as_rank(namespace.exchange, lambda: namespace.run(namespace))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, taking `key=value` overrides wherever they stand; argparse alone wants them right after the recipe."""
    commands = parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    namespace, rest = commands.parse_known_args(words)
    namespace.words = words
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]
    if rest and (len(overrides) < len(rest) or not hasattr(namespace, "overrides")):
        called = " ".join(filter(None, (namespace.command, getattr(namespace, "action", None))))
        unknown = next(word for word in rest if word not in overrides or not hasattr(namespace, "overrides"))
        commands.exit(EXIT_MISTAKE, f"error: unknown argument {unknown!r}; see: sslkit {called} --help\n")
    if overrides:
        namespace.overrides = [*namespace.overrides, *overrides]
    return namespace


if __name__ == "__main__":
    exit_code = main()
    if "WORLD_SIZE" in os.environ:
        # One of several processes: torch's threads can abort it while Python is torn down, and nothing is left to do.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)
