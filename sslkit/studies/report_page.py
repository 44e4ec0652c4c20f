"""The page of a run, and the page of several: scores, curves, views, maps, classes, recipe; one HTML file each.

Enters: run folders, in whatever state. Leaves: `report.html` in a run's folder, or HTML. Called by the engine at the
end of a run and by `sslkit report`. Every part of a page stands on its own: what a run lacks is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from rich.filesize import decimal

import sslkit
from sslkit.errors import RunError
from sslkit.page import Html, escape, page, table
from sslkit.run_folder import write_text
from sslkit.studies import (
    charts,
    confusion,
    maps,
    report_classes,
    report_facts,
    report_scores,
    report_views,
    tracks,
)
from sslkit.studies.collect import Run, is_run, read_runs
from sslkit.studies.report_classes import classes_of
from sslkit.studies.report_curves import curves_of, shared_curves
from sslkit.studies.report_facts import date_of, fact_list, facts, status_line, status_of, tiles
from sslkit.studies.report_maps import maps_of
from sslkit.studies.report_scores import Group, about, all_numbers, grouped, scores_table
from sslkit.studies.report_spectra import spectrum_of
from sslkit.studies.report_views import views_of
from sslkit.studies.rows import Row, gathered
from sslkit.studies.run_files import RunFiles
from sslkit.text import duration, one_line

FILE_NAME: Final = "report.html"

_MOST_LINES: Final = 100  # warnings, bad images, files
_MOST_TEXT: Final = 200_000  # characters of a recipe

_STYLE: Final = """
h4 { font-size: 0.92rem; font-weight: 600; margin: 1.1rem 0 0.3rem; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; color: var(--accent); }
.runs td, .runs th { white-space: nowrap; }
"""
_WITH_STYLE: Final = (charts, tracks, maps, confusion, report_scores, report_classes, report_views, report_facts)
_ALL_STYLES: Final = _STYLE + "".join(part.STYLE for part in _WITH_STYLE)


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder, from what lies there.

    Args:
        folder: Of a run in any state.

    Returns:
        The page's path.

    Raises:
        RunError: The folder is no run's, or the page cannot be written.
    """
    if not is_run(folder):
        raise RunError(f"{one_line(folder)}: holds no run; name the folder that `sslkit run` has written")
    path = folder / FILE_NAME
    text = _run_page(RunFiles.read(read_runs([folder])[0]))
    try:
        write_text(path, text)
    except OSError as error:
        raise RunError(f"{one_line(path)}: cannot be written: {error.strerror}") from None
    return path


def report_page(folders: Sequence[Path], *, title: str) -> str:
    """Return the page of several runs: their scores, averaged over seeds, and their curves over each other.

    Args:
        folders: Of runs in any state, or that hold runs.
        title: Plain text.

    Raises:
        RunError: A folder is missing, or there is no run in it.
    """
    runs = {run.folder: RunFiles.read(run) for run in read_runs(folders)}
    labels = _labels([files.run for files in runs.values()])
    rows = gathered([files.run for files in runs.values()])
    groups = grouped(rows, lambda row: runs[row.folders[0]].predictions(row.score))
    names = _row_names(rows, labels)
    body = ["<h2>Runs</h2>", _runs_table(runs, labels)]
    if groups:
        body.append("<h2>Scores</h2>")
    for group in groups:
        body += [*_heading(group), scores_table(group, label=lambda row: names[id(row)])]
    body += shared_curves({labels[folder]: files.curves for folder, files in runs.items()})
    body += _lines("Notes", list(dict.fromkeys(note for files in runs.values() for note in files.notes)))
    return page(title, "\n".join([*body, _footer()]), style=_ALL_STYLES)


def _run_page(files: RunFiles) -> str:
    run = files.run
    rows = gathered([run])
    groups = grouped(rows, lambda row: files.predictions(row.score))
    description = run.recipe.get("description")
    body = [f"<p>{escape(description)}</p>"] if description else []
    body += [status_line(files), tiles(rows), fact_list(files)]
    body += _lines("Warnings", files.warnings)
    sections = [
        *_scores(groups),
        *curves_of(files),
        *views_of(files),
        *maps_of(files),
        *_spectra(files, groups),
        *_classes(files, groups),
        *_bad_images(files),
        *_recipe(files),
        *_files(files),
    ]
    body += [*_lines("Notes", files.notes), *sections, _footer()]  # reading for the sections may have left notes
    return page(run.name, "\n".join(body), style=_ALL_STYLES)


def _lines(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield f"<h2>{escape(title)}</h2>"
    items = "".join(f"<li>{escape(one_line(line, 600))}</li>" for line in lines[:_MOST_LINES])
    more = len(lines) - _MOST_LINES
    yield f"<ul>{items}</ul>" + (f'<p class="quiet">And {more:,} more.</p>' if more > 0 else "")


def _heading(group: Group) -> list[str]:
    return [f"<h3>{escape(group.title)}</h3>", f'<p class="quiet">{escape(about(group))}</p>']


def _scores(groups: Sequence[Group]) -> Iterator[str]:
    if groups:
        yield "<h2>Scores</h2>"
    for group in groups:
        yield from (*_heading(group), scores_table(group), all_numbers(group))


def _classes(files: RunFiles, groups: Sequence[Group]) -> Iterator[str]:
    """Yield the classes of the first score in each group that is no baseline; all but the first folded away."""
    opened = " open"
    for group in groups:
        row = next((row for row in group.rows if row.score and not row.score.is_baseline), group.rows[0])
        score = row.score
        assert score is not None
        html = classes_of(files.predictions(score), files.class_names(score))
        if html:
            title = escape(f"{group.title}, {score.measured}")
            yield "<h2>Classes</h2>" if opened else ""
            yield f"<details{opened}><summary>{title}</summary>{html}</details>"
            opened = ""


def _spectra(files: RunFiles, groups: Sequence[Group]) -> Iterator[str]:
    """Yield the eigenvalues of the head, where an evaluation has stored them."""
    for group in groups:
        for html in filter(None, (spectrum_of(files.predictions(row.score)) for row in group.rows)):
            yield "<h2>Eigenvalues of the projection head</h2>"
            yield '<p class="quiet">The squared real eigenvalues of its matrix, the largest first.</p>'
            yield html


def _bad_images(files: RunFiles) -> Iterator[str]:
    bad = files.bad_images
    if not bad:
        return
    yield f"<h2>Images that cannot be read: {len(bad):,}</h2>"
    columns = list(dict.fromkeys(key for row in bad for key in row))
    yield table(([one_line(row.get(key, "")) for key in columns] for row in bad[:_MOST_LINES]), columns)
    if len(bad) > _MOST_LINES:
        yield f'<p class="quiet">The first {_MOST_LINES}; all are in bad_images.jsonl.</p>'


def _recipe(files: RunFiles) -> Iterator[str]:
    if text := files.recipe_text:
        cut = "\n…" if len(text) > _MOST_TEXT else ""
        yield "<h2>Recipe</h2>"
        yield f"<details><summary>With every default</summary><pre>{escape(text[:_MOST_TEXT] + cut)}</pre></details>"


def _files(files: RunFiles) -> Iterator[str]:
    folder = files.run.folder
    found = sorted(path for path in folder.rglob("*") if path.is_file() and _is_shown(path.relative_to(folder)))
    if found:
        yield "<h2>Files</h2>"
        yield table((_link(path.relative_to(folder)), _size(path)) for path in found[:_MOST_LINES])
    if command := files.environment.get("command"):
        words = " ".join(map(str, command)) if isinstance(command, list) else str(command)
        yield f'<p class="quiet">Written by <code>{escape(one_line(words, 600))}</code></p>'


def _is_shown(path: Path) -> bool:
    return path.parts[0] != "checkpoints" and path.name != FILE_NAME and not any(p.startswith(".") for p in path.parts)


def _size(path: Path) -> str:
    return decimal(path.stat().st_size).replace(" ", "\u00a0")


def _link(path: Path) -> Html:
    # A leading ./ keeps a name with a colon from being taken for an address.
    return Html(f'<a href="./{escape(quote(path.as_posix()))}">{escape(path.as_posix())}</a>')


def _labels(runs: Sequence[Run]) -> dict[Path, str]:
    """Return what tells runs apart: the names of their folders, with what is above them where these are alike."""
    names = {run.folder: run.folder.name for run in runs}
    for depth in (1, 2, 3):
        names = {run.folder: "/".join(run.folder.resolve().parts[-depth:]) for run in runs}
        if len(set(names.values())) == len(names):
            break
    return names


def _row_names(rows: Sequence[Row], labels: Mapping[Path, str]) -> dict[int, str]:
    """Return what each row is called, by its identity: its run, or its folder if names are alike, and its features."""
    members = Counter(row.name for row in {row.folders: row for row in rows}.values())
    return {
        id(row): f"{labels[row.folders[0]] if members[row.name] > 1 else row.name}: {row.score.measured}"
        for row in rows
        if row.score is not None
    }


def _runs_table(runs: Mapping[Path, RunFiles], labels: Mapping[Path, str]) -> str:
    rows = []
    for folder, files in runs.items():
        run, known = files.run, facts(files)
        row = {"run": labels[folder], "recipe": run.name, "status": status_of(files)}
        row |= {name: known[name] for name in ("seed", "backbone", "length", "batch", "device")}
        row |= {"took": "" if run.seconds is None else duration(run.seconds), "date": date_of(files)}
        rows.append(row | {"": one_line(run.reason, 120)})
    told = [name for name in rows[0] if any(row[name] for row in rows)]
    return f'<div class="runs">{table(([row[name] for name in told] for row in rows), told)}</div>'


def _footer() -> str:
    return f"<footer>sslkit {escape(sslkit.__version__)}. This page needs no other file and no network.</footer>"
