"""What is wrong or odd about a folder's files, from the facts of each.

Enters: facts and places of files. Leaves: findings, each with the files to look at. Called by `audit/audit`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sslkit.audit.duplicates import equal_groups, near_groups
from sslkit.audit.measure import DETAIL_SIDE, FileFacts, Header, Pixels

_BLANK_CONTRAST = 3.0  # of 255: nothing to see; JPEG's own noise on a blank page is below 1
_BLURRED = 0.2  # of the median sharpness: photographs blurred by 2 pixels are at 0.1, sharp ones rarely below 0.3
_LONG = 3.0  # an aspect at which the crops of most policies leave the picture
_SMALL = 0.25  # of the median shorter side


class Place(NamedTuple):
    """Where a file lies; empty strings where it is in no such folder.

    Attributes:
        split: The first folder below the audited one, if its name is that of a split.
        label: The next folder: the class, if there are class folders.
    """

    split: str
    label: str


@dataclass(frozen=True)
class Finding:
    """Files to look at, for one reason.

    Attributes:
        name: Key in `audit.jsonl`.
        title: For people.
        note: What it means and what to do, one or two sentences.
        groups: Positions of files; of one file each unless the files belong together.
        serious: Whether `--strict` fails on it.
    """

    name: str
    title: str
    note: str
    groups: list[list[int]]
    serious: bool = False

    @property
    def num_files(self) -> int:
        """Files in all groups."""
        return sum(map(len, self.groups))


def find(files: list[FileFacts], places: list[Place], near_bits: int) -> list[Finding]:
    """Return all findings, worst first, those without files included.

    Args:
        files: Facts of each.
        places: Of each.
        near_bits: By how many bits the hashes of near duplicates may differ.
    """
    good = {position: file.pixels for position, file in enumerate(files) if file.pixels is not None}
    blank = [position for position in good if good[position].contrast < _BLANK_CONTRAST]
    copies = equal_groups(file.sha256 if file.pixels else None for file in files)
    near = _near(files, good, near_bits)
    leaks = [group for group in _merged(copies, near) if len({places[member].split for member in group} - {""}) > 1]
    typical = statistics.median(pixels.sharpness for pixels in good.values()) if good else 0.0
    side = statistics.median(_short(pixels) for pixels in good.values()) if good else 0.0
    sharp_enough = set(blank) | {position for position in good if good[position].sharpness >= _BLURRED * typical}
    modes = Counter(file.header.mode for file in files if file.header)
    usual = min(modes, key=lambda mode: (-modes[mode], mode), default="")

    def alone(positions: Iterable[int]) -> list[list[int]]:
        return [[position] for position in positions]

    def with_header(holds: Callable[[Header], bool]) -> list[list[int]]:
        return alone(position for position, file in enumerate(files) if file.header and holds(file.header))

    return [
        Finding(
            "unreadable",
            "Cannot be read",
            "Pretraining replaces such files or stops at them, as on_bad_image says. Mend or remove them.",
            alone(position for position, file in enumerate(files) if file.error is not None),
            serious=True,
        ),
        Finding(
            "across_splits",
            "In more than one split",
            "The same or nearly the same picture is trained on and tested on: scores will be too good. "
            "Remove it from one of them.",
            leaks,
            serious=True,
        ),
        Finding("duplicate", "Exact duplicates", "Files of the same bytes. One of each is enough.", copies),
        Finding(
            "near_duplicate",
            "Near duplicates",
            f"Nearly the same picture: other size, quality or crop. At most {near_bits} of 64 bits of their hashes "
            "differ, and their small copies correlate.",
            near,
        ),
        Finding(
            "blank",
            "Blank or flat",
            f"No channel varies by more than {_BLANK_CONTRAST:g} of 255; there is nothing to learn from.",
            alone(sorted(blank, key=lambda position: good[position].contrast)),
        ),
        Finding(
            "blurred",
            "Perhaps blurred",
            f"Sharpness below {_BLURRED:.0%} of the median, least sharp first. Skies and water look like this too.",
            alone(sorted(good.keys() - sharp_enough, key=lambda position: good[position].sharpness)),
        ),
        Finding(
            "long",
            "Extreme aspect",
            f"One side more than {_LONG:g} times the other: crops show little of the whole.",
            alone(sorted((p for p in good if _aspect(good[p]) > _LONG), key=lambda p: -_aspect(good[p]))),
        ),
        Finding(
            "small",
            "Small",
            f"Shorter side below {_SMALL:.0%} of the median, {side:g} pixels: enlarged by most crops.",
            alone(sorted((p for p in good if _short(good[p]) < _SMALL * side), key=lambda p: _short(good[p]))),
        ),
        Finding(
            "other_mode",
            "Another mode than most",
            f"Most files are {usual or 'unreadable'}. sslkit makes all RGB; see that no class is told by its mode.",
            with_header(lambda header: header.mode != usual),
        ),
        Finding(
            "rotated",
            "Stored rotated",
            "An EXIF tag turns the picture. sslkit obeys it everywhere; programs that do not see it lying on its side.",
            with_header(lambda header: header.orientation != 1),
        ),
        Finding(
            "position",
            "Tell where they were taken",
            "Their EXIF data hold a position on Earth. Remove it before you publish the files.",
            with_header(lambda header: header.position),
        ),
        Finding(
            "damaged_metadata",
            "Damaged metadata",
            "An EXIF block cut short or an XMP packet that is not UTF-8. The picture is used, and turned upright if "
            "its orientation can be read; other programs may refuse it.",
            with_header(lambda header: header.damaged),
        ),
    ]


def _near(files: list[FileFacts], pixels: dict[int, Pixels], bits: int) -> list[list[int]]:
    """Return groups of near duplicates; one of each set of equal files stands for all of them."""
    equals: dict[str | None, list[int]] = {}
    for position in pixels:
        equals.setdefault(files[position].sha256, []).append(position)
    chosen = [group[0] for group in equals.values()]
    hashes = np.array([pixels[position].hash for position in chosen], dtype=np.uint64)
    details = np.frombuffer(b"".join(pixels[position].detail for position in chosen), dtype=np.uint8)
    groups = near_groups(hashes, details.reshape(len(chosen), DETAIL_SIDE, DETAIL_SIDE), bits)
    members = list(equals.values())
    return [sorted(position for member in group for position in members[member]) for group in groups]


def _merged(copies: list[list[int]], near: list[list[int]]) -> list[list[int]]:
    """Return all groups without those of exact copies that a group of near duplicates holds already."""
    held = {position for group in near for position in group}
    return sorted([*near, *(group for group in copies if group[0] not in held)])


def _short(pixels: Pixels) -> int:
    return min(pixels.width, pixels.height)


def _aspect(pixels: Pixels) -> float:
    return max(pixels.width, pixels.height) / _short(pixels)
