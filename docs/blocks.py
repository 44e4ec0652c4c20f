"""Reads the code blocks of a Markdown page with their marks, for the tests that run and check them.

A mark is an HTML comment on the line before a block: `<!-- runnable -->`, `<!-- file: my_loss.toml -->`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BLOCK = re.compile(
    r"^(?:<!-- *(?P<mark>.*?) *-->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """One code block.

    Attributes:
        mark: What the comment before it says, or "".
        language: After the fence.
        text: With its line end.
        line: Of the opening fence, from 1.
    """

    mark: str
    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """Return the fenced code blocks of a page in their order."""
    return [
        Block(match["mark"] or "", match["language"], match["text"], page.count("\n", 0, match.start("language")) + 1)
        for match in _BLOCK.finditer(page)
    ]


def commands(page: str) -> list[str]:
    """Return every line of the page's bash blocks that calls sslkit, and what follows a `&&`."""
    lines = [line for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("sslkit ")]
