"""A folder of images judged: what is broken, doubled, leaked between splits, odd, or private.

Enters: a folder. Leaves: an `Audit`: every file's facts and what was found in them. Called by `sslkit data audit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from sslkit.audit.duplicates import NEAR_BITS
from sslkit.audit.findings import Finding, Place, find
from sslkit.audit.isolated import Failure, isolated
from sslkit.audit.measure import FileFacts, measure
from sslkit.errors import DataError
from sslkit.index import list_images
from sslkit.text import one_line

SPLITS: Final = frozenset(
    {"pretrain", "train", "training", "val", "valid", "validation", "test", "testing", "unlabeled", "unlabelled"}
)
"""Names, in lower case, by which a folder directly below the audited one is a split."""

_TRAINING = ("pretrain", "train", "training")


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel over all pixels, in [0, 1].

    Attributes:
        mean: Of red, green and blue.
        deviation: Likewise.
        split: The files that were counted: the training split's, or all (an empty string).
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    split: str

    def normalize_line(self) -> str:
        """Return the line for a recipe's data table."""
        mean, deviation = (", ".join(f"{value:.4f}" for value in values) for values in self[:2])
        return f"normalize = {{ mean = [{mean}], std = [{deviation}] }}"


@dataclass(frozen=True)
class Audit:
    """What is known of a folder.

    Attributes:
        folder: That was audited.
        files: In the order of their paths.
        places: Of each file.
        ignored: Number of other entries, that are no images by their names.
        ignored_examples: Some of their names.
        findings: Worst first, empty ones included.
        statistics: None if no image can be read.
    """

    folder: Path
    files: list[FileFacts]
    places: list[Place]
    ignored: int
    ignored_examples: tuple[str, ...]
    findings: list[Finding]
    statistics: Statistics | None

    @property
    def serious(self) -> bool:
        """Whether a file cannot be read, or one picture is in two splits."""
        return any(finding.groups for finding in self.findings if finding.serious)

    def classes(self) -> dict[str, dict[str, int]]:
        """Return the images of each class in each split; empty without class folders."""
        counts = Counter(self.places)
        classes = sorted({name for _, name in counts if name})
        if len(classes) < 2:
            return {}
        splits = sorted({split for split, _ in counts})
        return {split: {name: counts[Place(split, name)] for name in classes} for split in splits}


def audit(
    folder: Path,
    *,
    near_bits: int = NEAR_BITS,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Audit:
    """Measure every image below a folder and judge the whole.

    Args:
        folder: Read, never written to.
        near_bits: By how many of 64 bits the hashes of near duplicates may differ, 0 to 8.
        workers: Processes that read images; default: one per core. The result is the same for any number.
        progress: Called with the number of files done and of all.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    found = list_images(folder)
    paths = [found.files.path(position) for position in range(len(found.files))]
    numbers = {place: number for number, place in enumerate(dict.fromkeys(map(_place, paths)))}
    repeated = found.repeated(np.array([numbers[_place(path)] for path in paths], dtype=np.int64))
    paths = [path for path, again in zip(paths, repeated.tolist(), strict=True) if not again]
    if not paths:
        raise DataError(f"{one_line(folder)}: no image files in it")
    files = [FileFacts(path) for path in paths]
    for done, (position, result) in enumerate(isolated(partial(measure, folder), paths, workers=workers), start=1):
        files[position] = FileFacts(paths[position], error=result.reason) if isinstance(result, Failure) else result
        progress(done, len(paths))
    places = [_place(path) for path in paths]
    return Audit(
        folder=folder,
        files=files,
        places=places,
        ignored=found.ignored,
        ignored_examples=found.examples,
        findings=find(files, places, near_bits),
        statistics=_statistics(files, places),
    )


def _place(path: str) -> Place:
    *folders, _ = path.split("/")
    split = folders.pop(0) if folders and folders[0].lower() in SPLITS else ""
    return Place(split, folders[0] if folders else "")


def _statistics(files: list[FileFacts], places: list[Place]) -> Statistics | None:
    splits = {split.lower(): split for split, _ in places}
    split = next((splits[name] for name in _TRAINING if name in splits), "")
    counted = [
        file.pixels
        for file, place in zip(files, places, strict=True)
        if file.pixels is not None and (not split or place.split == split)
    ]
    if not counted:
        return None
    count = sum(pixels.width * pixels.height for pixels in counted)
    mean, deviation = [], []
    for channel in range(3):
        total = sum(pixels.sums[channel] for pixels in counted)  # whole numbers of any length: exact
        squares = sum(pixels.squares[channel] for pixels in counted)
        mean.append(total / count / 255)
        deviation.append(((count * squares - total**2) / count**2) ** 0.5 / 255)
    return Statistics(tuple(mean), tuple(deviation), split)
