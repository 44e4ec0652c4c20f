"""Pages for people: one HTML file that needs nothing else, readable on a phone, by day and by night.

Enters: text from anywhere, images, rows. Leaves: HTML. Called by preview, audit and report, so that sslkit's pages have
one face. Whatever `escape` has not seen must be HTML that sslkit wrote itself; a page loads nothing and runs no script.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Final

from PIL import Image

from sslkit.text import safe_text

# No script, font or request of any kind: a path that slipped through unescaped would still do nothing.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2129; --quiet: #68707d; --line: #e4e1db; --accent: #2a6f6b;
  --alarm: #a8352b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1c2026; --ink: #e4e6e9; --quiet: #98a1ad; --line: #2e343c; --accent: #74c0b8;
    --alarm: #ef8d80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 2.5rem clamp(1rem, 4vw, 3rem) 4rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.7rem; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 0.6rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 0.4rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 0.4rem; }
p { margin: 0.4rem 0 0.9rem; max-width: 46rem; }
a { color: var(--accent); }
.quiet, figcaption, footer { color: var(--quiet); }
.alarm { color: var(--alarm); }
footer { margin-top: 4rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 0.85rem; }
code, pre { font: 0.875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
pre {
  margin: 0.8rem 0; padding: 0.8rem 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; white-space: pre-wrap;
}
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 1.6rem 0.4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 500; font-size: 0.85rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
.grid { display: grid; gap: 1rem; margin: 1rem 0 1.6rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(var(--cell, 9rem), 44%), 1fr)); }
.groups, .group, .columns { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
.groups { margin: 1rem 0 1.6rem; }
.group { padding: 0.9rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.group figure { width: min(9rem, 38vw); }
.columns { column-gap: 3rem; }
figure { margin: 0; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; background: var(--line);
  outline: 1px solid var(--line); outline-offset: -1px; }
figcaption { font-size: 0.78rem; line-height: 1.4; margin-top: 0.35rem; }
.tiny { image-rendering: pixelated; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  tr, figure, .group { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  .scroll { overflow-x: visible; }
}
"""


class Html(str):
    """HTML that sslkit wrote itself, where otherwise plain text stands."""


def page(title: str, body: str, *, style: str = "") -> str:
    """Return a complete HTML document.

    Args:
        title: Plain text; escaped here, shown as the heading too.
        body: HTML.
        style: CSS beyond what all pages share.
    """
    name = escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def escape(text: object) -> str:
    """Return any text as HTML: no markup, no control characters, fit for an attribute too."""
    return html.escape(safe_text(text))


def picture(image: Image.Image | bytes, alt: str, *, enlarge: int = 1) -> str:
    """Return an `<img>` that carries its own data.

    Args:
        image: A PIL image, carried without loss as PNG; or the bytes of a PNG, JPEG, WebP or GIF file, as they are.
        alt: Plain text for those who cannot see it.
        enlarge: Shown this many times larger, without smoothing: for images of a few pixels.
    """
    if isinstance(image, bytes):
        data = image
        with Image.open(io.BytesIO(image)) as opened:
            size, kind = opened.size, Image.MIME[str(opened.format)]
    else:
        file = io.BytesIO()
        image.save(file, format="PNG")
        data, size, kind = file.getvalue(), image.size, "image/png"
    width, height = (side * enlarge for side in size)
    look = ' class="tiny"' if enlarge > 1 else ""
    source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return f'<img{look} src="{source}" width="{width}" height="{height}" alt="{escape(alt)}">'


def figure(content: str, caption: str = "") -> str:
    """Return a figure with its caption below; both are HTML."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{content}{below}</figure>"


def grid(figures: Iterable[str], *, width: str = "9rem") -> str:
    """Return figures side by side, as many in a row as the screen holds.

    Args:
        figures: HTML of each.
        width: The least width of one, a CSS length.
    """
    return f'<div class="grid" style="--cell: {escape(width)}">{"".join(figures)}</div>'


def groups(members: Iterable[Iterable[str]]) -> str:
    """Return groups of figures, each group in a frame of its own.

    Args:
        members: HTML of the figures of each group.
    """
    frames = (f'<div class="group">{"".join(figures)}</div>' for figures in members)
    return f'<div class="groups">{"".join(frames)}</div>'


def columns(parts: Iterable[str]) -> str:
    """Return parts side by side where the screen is wide enough, below each other where it is not."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return a table; every cell but `Html` is plain text and escaped, numbers stand to the right.

    Args:
        rows: Of cells. Whole numbers get thousands separators; write other numbers as text, with their digits.
        header: Names of the columns.
    """
    body = [list(row) for row in rows]
    numbers = {
        column
        for column in range(max(map(len, body), default=0))
        if all(isinstance(row[column], int) for row in body if column < len(row))
    }
    lines = [f"<tr>{_cells('th', header, numbers)}</tr>"] if header else []
    lines += [f"<tr>{_cells('td', row, numbers)}</tr>" for row in body]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _cells(tag: str, cells: Sequence[object], numbers: set[int]) -> str:
    styles = [' class="number"' if column in numbers else "" for column in range(len(cells))]
    return "".join(f"<{tag}{style}>{_cell(cell)}</{tag}>" for style, cell in zip(styles, cells, strict=True))


def _cell(cell: object) -> str:
    if isinstance(cell, Html):
        return cell
    return escape(f"{cell:,}" if isinstance(cell, int) else cell)
