"""From a TOML file to a tree of values whose every key knows its file and line.

Enters: a path. Leaves: a `Document`. Called by `merge`. A recipe is data from outside: its size is capped before
parsing, and whatever is in it ends as one `RecipeError` line.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sslkit.errors import RecipeError
from sslkit.text import one_line

MAX_BYTES: Final = 256 * 1024  # tomllib takes seconds for hostile megabytes; the largest real recipe has 4 KiB
MAX_DEPTH: Final = 50  # tables in tables; tomllib takes memory quadratic in the parts of a dotted key
_MAX_INTEGER: Final = 2**63  # what TOML promises; larger ones cannot even be printed

KeyPath = tuple[str | int, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_HEADER = re.compile(rf"[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")


@dataclass
class Document:
    """A parsed recipe.

    Attributes:
        tree: The values.
        places: Key path to `file:line`, or to the override that set it.
        source: What to call the whole, for keys without a place.
        before_method: Tables of [pretrain] that were written for another method than the one that is named now; what
            that takes of them is its own affair.
    """

    tree: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)
    source: str = "recipe"
    before_method: frozenset[str] = frozenset()

    def where(self, path: KeyPath) -> str:
        """Return `file:line` of a key, or of the nearest table above it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.source


def read_document(path: Path) -> Document:
    """Read one recipe file; a byte-order mark and Windows line ends are fine.

    Raises:
        RecipeError: Missing, not a file, too large, not UTF-8, empty, or not TOML.
    """
    text = _read_text(path)
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") - line.count("..") > 2 * MAX_DEPTH:
            raise RecipeError(f"{path}:{number}: more dots than a recipe needs; break the line")
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise RecipeError(f"{path}: brackets are nested too deeply for a recipe") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(_syntax_message(path, text, str(error))) from None
    except ValueError as error:  # Python refuses to read thousands of digits
        raise RecipeError(f"{path}: not valid TOML: {one_line(error)}") from None
    if not tree:
        raise RecipeError(f"{path}: is empty; a recipe needs at least schema = 1, name and [pretrain]")
    document = Document(tree, {key: f"{path}:{line}" for key, line in locate(text).items()}, str(path))
    require_plain(document, tree)
    return document


def require_plain(document: Document, value: Any, path: KeyPath = ()) -> None:
    """Refuse what no recipe needs and what later stages cannot handle: endless nesting, endless integers.

    Raises:
        RecipeError: Names the key.
    """
    too_deep = len(path) > MAX_DEPTH
    if too_deep or (isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER):
        reason = "tables are nested too deeply for a recipe" if too_deep else "is too large an integer for TOML"
        raise RecipeError(f"{document.where(path)} {'.'.join(map(str, path[:8]))}: {reason}")
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            require_plain(document, item, (*path, key))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a folder; name the file inside it, {path / 'recipe.toml'}") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path}: is larger than {MAX_BYTES // 1024} KiB; that is not a recipe")
    if b"\0" in content:
        raise RecipeError(f"{path}: is UTF-16 or no text at all; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return text.replace("\r\n", "\n")


def _syntax_message(path: Path, text: str, reason: str) -> str:
    match = re.search(r"\(at line (\d+), column \d+\)", reason)
    line = int(match[1]) if match else text.rstrip("\n").count("\n") + 1
    reason = re.sub(r"\s*\(at .*\)$", "", reason)
    advice = ""
    if re.search(r'"[^"]*\\', text.split("\n")[line - 1]):
        advice = " (in double quotes \\ starts an escape: write paths with / or in 'single quotes')"
    return f"{path}:{line}: not valid TOML: {one_line(reason)}{advice}"


def locate(text: str) -> dict[KeyPath, int]:
    """Return the line of every table header and key of a valid TOML text, counted from 1.

    A key inside an inline table or array stands at the line of the key that holds it.
    """
    places: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    position, line = 0, 1
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        header = _HEADER.match(text, position, end)
        assignment = None if header else _ASSIGNMENT.match(text, position, end)
        if header:
            table = _entered(_parts(header[2]), counts, appends=header[1] == "[[")
            for length in range(1, len(table)):
                places.setdefault(table[:length], line)
            places[table] = line
        elif assignment:
            key = table + _parts(assignment[1])
            for length in range(len(table) + 1, len(key) + 1):
                places.setdefault(key[:length], line)
            end = _value_end(text, assignment.end())
        line += text.count("\n", position, end + 1)
        position = end + 1
    return places


def _entered(parts: KeyPath, counts: dict[KeyPath, int], *, appends: bool) -> KeyPath:
    """Return a header's full path, the last element of arrays of tables put in."""
    path: KeyPath = ()
    for number, part in enumerate(parts):
        path += (part,)
        if appends and number == len(parts) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path += (counts[path] - 1,)
    return path


def _parts(dotted: str) -> KeyPath:
    return tuple(
        tomllib.loads(f"{part} = 0").popitem()[0] if part[0] in "\"'" else part for part in re.findall(_KEY, dotted)
    )


_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'|" r"#[^\n]*",
    re.DOTALL,
)


def _value_end(text: str, start: int) -> int:
    """Return where the line ends on which a value ends: strings and brackets may run over several."""
    depth, position = 0, start
    while position < len(text):
        skipped = _STRINGS.match(text, position)
        if skipped:
            position = skipped.end()
            continue
        character = text[position]
        if character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "\n" and depth <= 0:
            return position
        position += 1
    return len(text)
