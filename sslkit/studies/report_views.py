"""The images that a run learned from, each beside its views.

Enters: uint8 images. Leaves: HTML with the pictures in it. Called by the report's page.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslkit.page import figure, picture
from sslkit.studies.run_files import RunFiles

_MOST_ROWS: Final = 6
_MOST_VIEWS: Final = 8
_SIDE: Final = 128  # pixels; larger pictures are made smaller
_SHOWN: Final = 96  # pixels up to which small pictures are enlarged
_LOSSLESS: Final = 64  # side up to which pictures are PNG

STYLE: Final = """
.views {
  display: grid; gap: 1rem; margin: 1rem 0 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr));
}
.views .row {
  display: flex; flex-wrap: wrap; gap: 0.5rem; padding: 0.7rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; break-inside: avoid;
}
.views .row figure { width: 6rem; flex: 0 1 6rem; min-width: 4rem; }
.views .row figure:first-child { margin-right: 0.5rem; }
.views .row img { width: 100%; }
"""
"""What a page with views adds to its style."""


def views_of(files: RunFiles) -> Iterator[str]:
    """Yield the section: a few images, each with its views."""
    views = files.views
    if views is None:
        return
    yield "<h2>Views</h2>"
    count = views.shape[1] - 1
    shown = min(count, _MOST_VIEWS)
    more = f"; the first {shown} of {count} views" if shown < count else ""
    yield f'<p class="quiet">Images of the pretraining data, each with its views of the first epoch{more}.</p>'
    rows = []
    for number, row in enumerate(views[:_MOST_ROWS], 1):
        figures = [figure(_picture(row[0], f"image {number}"), "image")]
        figures += [
            figure(_picture(view, f"view {i} of image {number}"), f"view {i}")
            for i, view in enumerate(row[1 : shown + 1], 1)
        ]
        rows.append(f'<div class="row">{"".join(figures)}</div>')
    yield f'<div class="views">{"".join(rows)}</div>'


def _picture(pixels: NDArray[np.uint8], alt: str) -> str:
    """Return an `<img>`: small pictures as they are, enlarged; larger ones made smaller, as JPEG."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if max(image.size) <= _LOSSLESS:
        return picture(image, alt, enlarge=max(1, -(-_SHOWN // max(image.size))))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=85)
    return picture(file.getvalue(), alt)
