"""The report of a study, written into its folder: a page, Markdown, CSV, and a picture for each chart.

Enters: a study. Leaves: files. Called by `sslkit report` and, when its last run has ended, by `sslkit sweep`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sslkit.errors import RunError
from sslkit.run_folder import write_text
from sslkit.studies.study_report.charts import notes_of, panels_of
from sslkit.studies.study_report.layout import charts_of
from sslkit.studies.study_report.page import study_page
from sslkit.studies.study_report.svg import file_of
from sslkit.studies.study_report.text import study_csv, study_markdown
from sslkit.text import one_line

if TYPE_CHECKING:
    from sslkit.studies.study import Study

_MOST_LETTERS: Final = 60  # of a file's name


def write_study_report(study: Study) -> list[Path]:
    """Write `report.html`, `report.md`, `report.csv` and a picture of each chart into a study's folder.

    Pictures of charts that are no more go, if they are still as the last report drew them.

    Args:
        study: Finished or not: what is missing is said.

    Returns:
        Paths of the files, the page first.

    Raises:
        RunError: They cannot be written.
    """
    pictures, before = study_pictures(study), _drawn_before(study.folder)
    names = dict(zip((number for number, _ in pictures.values()), pictures, strict=True))
    texts = {
        "report.html": study_page(study, {name: _digest(text.encode()) for name, (_, text) in pictures.items()}),
        "report.md": study_markdown(study, names),
        "report.csv": study_csv(study),
        **{name: text for name, (_, text) in pictures.items()},
    }
    paths = []
    for name, text in texts.items():
        path = study.folder / name
        try:
            write_text(path, text)
        except OSError as error:
            raise RunError(f"{one_line(path)}: cannot be written: {error.strerror}") from None
        paths.append(path)
    for name in before.keys() - texts.keys():
        path = study.folder / name
        if path.is_file() and _digest(path.read_bytes()) == before[name]:
            path.unlink()
    return paths


def _drawn_before(folder: Path) -> dict[str, str]:
    """Return the names of the pictures that the last report of a folder has drawn, with their digests."""
    try:
        page = (folder / "report.html").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    listed = re.search(r'<footer data-drawn="([^"]*)"', page)
    return dict(re.findall(r"([a-z0-9_]+\.svg):([0-9a-f]+)", listed[1] if listed else ""))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def study_pictures(study: Study) -> dict[str, tuple[int, str]]:
    """Return the file name of each chart that is no table, with the chart's number, from 0, and the file's text.

    Args:
        study: Finished or not.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, chart in enumerate(charts_of(study)):
        if panels := panels_of(chart):
            stem = re.sub(r"[^a-z0-9]+", "_", chart.title.lower()).strip("_")[:_MOST_LETTERS] or "chart"
            while f"{stem}.svg" in found:
                stem += f"_{number + 1}"
            name = f"{stem}.svg"
            found[name] = (number, file_of(chart.title, panels, notes_of(chart)))
    return found
