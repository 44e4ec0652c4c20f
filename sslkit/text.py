"""Words for people: strings made safe to print, near matches, durations.

Used by everything that prints or writes HTML; imports nothing of sslkit.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def safe_text(text: object) -> str:
    r"""Return `text` without control characters, so that no file name or recipe value can drive a terminal.

    Newline and tab stay. C0, DEL and C1 controls, bidirectional overrides and lone surrogates become visible
    escapes such as `\x1b`.

    Args:
        text: Anything; `str()` is taken of it.
    """
    return "".join(_escape(character) if _is_unsafe(character) else character for character in str(text))


def _is_unsafe(character: str) -> bool:
    code = ord(character)
    return (
        (code < 0x20 and character not in "\n\t")
        or 0x7F <= code <= 0x9F
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code <= 0xDFFF
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: object, limit: int = 300) -> str:
    """Return the safe text on one line, cut to `limit` characters."""
    line = " ".join(safe_text(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a mistyped one, or None when none is near.

    A short form counts as its full name: `nt_xent` is `simclr.nt_xent`, and so is `nt_xnet`.
    """
    names = list(known)
    spellings = {full.rpartition(".")[2]: full for full in reversed(names)} | {full: full for full in names}
    matches = difflib.get_close_matches(name, spellings, n=1)
    return spellings[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known name, or an empty string."""
    match = closest(name, known)
    return f'; did you mean "{match}"?' if match is not None else ""


def duration(seconds: float) -> str:
    """Return a short duration: `45 s`, `12 min 30 s`, `3 h 05 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def span(seconds: float) -> str:
    """Return a duration of any length, in days from two of them on: `45 s`, `3 h 05 min`, `4.1 days`, `31.7 years`."""
    days = seconds / 86_400
    if days < 2:
        return duration(seconds)
    return f"{days:.1f} days" if days < 730 else f"{days / 365.25:,.1f} years"


def counted(number: int, noun: str) -> str:
    """Return how many there are of something: `1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
