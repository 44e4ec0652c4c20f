"""An audit written down: one JSON line a file, and a page to look at.

Enters: an `Audit`. Leaves: text. Called by `sslkit data audit`.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from rich.filesize import decimal

import sslkit
from sslkit.audit.audit import Audit
from sslkit.audit.findings import Finding
from sslkit.audit.isolated import Failure, isolated
from sslkit.audit.measure import FileFacts, small_copy
from sslkit.page import Html, columns, escape, figure, grid, groups, page, picture, table

_SHOWN = 24  # pictures of one finding, and groups of one
_SHOWN_OF_GROUP = 6
_SHOWN_ROWS = 100  # files that cannot be read, and classes
_FIGURES: Final[dict[str, Callable[[FileFacts], str]]] = {
    "blank": lambda file: f"contrast {file.pixels.contrast:.1f}" if file.pixels else "",
    "blurred": lambda file: f"sharpness {file.pixels.sharpness:.1f}" if file.pixels else "",
    "other_mode": lambda file: file.header.mode if file.header else "",
    "rotated": lambda file: f"tag {file.header.orientation}" if file.header else "",
}


def json_lines(audit: Audit) -> str:
    """Return one JSON object a file, every one with the same keys; null where nothing is known.

    Pixel values are 0 to 255, `mean` and `deviation` in [0, 1]. `findings` holds, for each finding that the file
    belongs to, the number of its group there.

    Args:
        audit: To write down.
    """
    found: list[dict[str, int]] = [{} for _ in audit.files]
    for finding in audit.findings:
        for number, group in enumerate(finding.groups):
            for position in group:
                found[position][finding.name] = number
    rows = zip(audit.files, audit.places, found, strict=True)
    return "".join(json.dumps(_row(file, *place, findings)) + "\n" for file, place, findings in rows)


def overview(audit: Audit) -> list[tuple[str, str]]:
    """Return what the folder holds, as rows of a name and a text.

    Args:
        audit: To sum up.
    """
    good = [file.pixels for file in audit.files if file.pixels]
    headers = [file.header for file in audit.files if file.header]
    rows = [("files", f"{len(audit.files):,}, {decimal(sum(file.size or 0 for file in audit.files))}")]
    if audit.ignored:
        rows.append(("ignored", f"{audit.ignored:,}, such as {', '.join(audit.ignored_examples)}"))
    if good:
        widths, heights = [pixels.width for pixels in good], [pixels.height for pixels in good]
        sizes = [(min(sides), statistics.median_low(sides), max(sides)) for sides in (widths, heights)]
        rows += [
            ("formats", _counts(Counter(header.format for header in headers))),
            ("modes", _counts(Counter(header.mode for header in headers))),
            ("width", "{:,} to {:,}, median {:,}".format(*(sizes[0][i] for i in (0, 2, 1)))),
            ("height", "{:,} to {:,}, median {:,}".format(*(sizes[1][i] for i in (0, 2, 1)))),
        ]
    splits = Counter(place.split or "(none)" for place in audit.places)
    if list(splits) != ["(none)"]:
        rows.append(("splits", _counts(splits)))
    for split, classes in audit.classes().items():
        here = [name for name in classes if classes[name]]
        if not here:
            continue
        fewest, most = (choose(here, key=lambda name: classes[name]) for choose in (min, max))
        text = f"{len(here):,}, of {classes[fewest]:,} ({fewest}) to {classes[most]:,} ({most}) images"
        if classes[fewest] == classes[most]:
            text = f"{len(here):,}, of {classes[most]:,} image{'s' * (classes[most] > 1)} each"
        if split and (absent := [name for name in classes if not classes[name]]):
            text += f"; {len(absent):,} of other splits absent, such as {absent[0]}"
        rows.append((f"classes in {split}" if split else "classes", text))
    return rows


def html(audit: Audit, *, workers: int | None = None) -> str:
    """Return the page; thumbnails of what it shows are made now.

    Args:
        audit: To show.
        workers: Processes that read images; default: one per core.
    """
    found = [finding for finding in audit.findings if finding.groups]
    clean = [finding.title.lower() for finding in audit.findings if not finding.groups]
    thumbnails = _thumbnails(audit, found, workers)
    parts = [f"<h3>Holds</h3>{table(overview(audit))}"]
    if found:
        rows = [(Html(f'<a href="#{item.name}">{escape(item.title)}</a>'), item.num_files) for item in found]
        parts.append(f"<h3>Found</h3>{table(rows)}")
    body = [columns(parts)]
    if clean:
        body.append(f'<p class="quiet">Nothing found: {escape(", ".join(clean))}.</p>')
    if audit.statistics is not None:
        counted = f"the images of {audit.statistics.split}" if audit.statistics.split else "all images"
        body.append(f"<p>Mean and deviation of all pixels of {escape(counted)}, for a recipe's data table:</p>")
        body.append(f"<pre>{escape(audit.statistics.normalize_line())}</pre>")
    body.extend(_section(audit, finding, thumbnails) for finding in found)
    body.append(_classes(audit))
    body.append(f"<footer>sslkit {escape(sslkit.__version__)}. Every file is in audit.jsonl beside this page.</footer>")
    return page(f"Audit of {audit.folder.resolve().name}", "\n".join(body))


def _row(file: FileFacts, split: str, label: str, findings: dict[str, int]) -> dict[str, Any]:
    header, pixels = file.header, file.pixels
    row: dict[str, Any] = {
        "path": file.path,
        "split": split or None,
        "class": label or None,
        "size": file.size,
        "sha256": file.sha256,
        "error": file.error,
        "findings": findings,
    }
    for key in ("format", "mode", "orientation", "position", "damaged"):
        row[key] = getattr(header, key, None)
    for key in ("width", "height", "sharpness", "contrast", "signal_to_noise"):
        value = getattr(pixels, key, None)
        row[key] = round(value, 4) if isinstance(value, float) else value
    row["hash"] = f"{pixels.hash:016x}" if pixels else None
    row["mean"] = row["deviation"] = None
    if pixels:
        count = pixels.width * pixels.height
        means = [total / count for total in pixels.sums]
        variances = [square / count - mean**2 for square, mean in zip(pixels.squares, means, strict=True)]
        row["mean"] = [round(mean / 255, 6) for mean in means]
        row["deviation"] = [round(max(0.0, variance) ** 0.5 / 255, 6) for variance in variances]
    return row


def _thumbnails(audit: Audit, found: list[Finding], workers: int | None) -> dict[int, bytes]:
    shown = sorted({position for finding in found for group in _shown(finding) for position in group})
    readable = [position for position in shown if audit.files[position].error is None]
    paths = [audit.files[position].path for position in readable]
    made = isolated(partial(small_copy, audit.folder), paths, workers=workers)
    return {readable[number]: data for number, data in made if not isinstance(data, Failure)}


def _shown(finding: Finding) -> Iterator[list[int]]:
    for group in finding.groups[:_SHOWN]:
        yield group[:_SHOWN_OF_GROUP]


def _section(audit: Audit, finding: Finding, thumbnails: dict[int, bytes]) -> str:
    number, files = len(finding.groups), finding.num_files
    together = files > number
    count = f"{files:,} file{'s' * (files > 1)}"
    if together:
        count += f" in {number:,} group{'s' * (number > 1)}"
    shown = _SHOWN_ROWS if finding.name == "unreadable" else _SHOWN
    if number > shown:
        count += f"; {shown} {'groups ' * together}shown"
    style = ' class="alarm"' if finding.serious else ""
    head = (
        f'<h2 id="{finding.name}"{style}>{escape(finding.title)}</h2>'
        f'<p>{escape(finding.note)} <span class="quiet">{escape(count)}.</span></p>'
    )
    if finding.name == "unreadable":
        files_shown = (audit.files[group[0]] for group in finding.groups[:shown])
        return head + table([(file.path, _reason(file)) for file in files_shown], ("file", "reason"))
    boxes = []
    for whole, group in zip(finding.groups, _shown(finding), strict=False):
        figures = [_figure(audit.files[position], finding, thumbnails.get(position)) for position in group]
        if len(whole) > len(group):
            figures.append(figure("", escape(f"and {len(whole) - len(group):,} more")))
        boxes.append(figures)
    return head + (groups(boxes) if together else grid(figures[0] for figures in boxes))


def _figure(file: FileFacts, finding: Finding, thumbnail: bytes | None) -> str:
    size = f"{file.pixels.width} × {file.pixels.height}" if file.pixels else ""
    more = _FIGURES[finding.name](file) if finding.name in _FIGURES else ""
    path = escape(file.path).replace("/", "/<wbr>").replace("_", "_<wbr>")  # where a line may end
    caption = f"{path}<br>{escape(', '.join(filter(None, [size, more])))}"
    if thumbnail is None:
        return figure("", caption)
    enlarge = max(1, 96 // max(file.pixels.width, file.pixels.height)) if file.pixels else 1
    return figure(picture(thumbnail, file.path, enlarge=enlarge), caption)


def _reason(file: FileFacts) -> str:
    return f"{file.error}; {decimal(file.size)}" if file.size is not None else str(file.error)


def _classes(audit: Audit) -> str:
    by_split = audit.classes()
    if not by_split:
        return ""
    names = list(next(iter(by_split.values())))
    rows = [(name, *(counts[name] for counts in by_split.values())) for name in names[:_SHOWN_ROWS]]
    note = f'<p class="quiet">The first {_SHOWN_ROWS} of {len(names):,}.</p>' if len(names) > _SHOWN_ROWS else ""
    return f"<h2>Classes</h2>{note}{table(rows, ('class', *(split or 'images' for split in by_split)))}"


def _counts(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered)
