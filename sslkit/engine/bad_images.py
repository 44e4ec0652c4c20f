"""The images of a run that cannot be read: each listed once, too many of them an error.

Enters: what loaders found, by split. Leaves: `bad_images.jsonl` in the run's folder, log lines, and DataError above
`max_bad_fraction`. Called by `batches` and `features`; one collector belongs to a run.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from sslkit.engine.distributed import from_all
from sslkit.errors import DataError, RunError
from sslkit.images import BadImageError
from sslkit.run_folder import write_text
from sslkit.text import one_line

MAX_BAD_FRACTION: Final = 0.2
"""What counts as too many where a data component does not say."""

_FILE: Final = "bad_images.jsonl"
_LOGGED: Final = 5  # lines per split, if the others can be read in the file

logger = logging.getLogger("sslkit")


class BadImage(NamedTuple):
    """One image that cannot be read.

    Attributes:
        path: The file, or what else names the image.
        reason: What is wrong with it.
    """

    path: str
    reason: str

    @classmethod
    def of(cls, error: BadImageError) -> BadImage:
        """Return what an error says; unlike the error, it passes between processes as it is."""
        return cls(error.path, error.reason)

    def __str__(self) -> str:
        return f"{one_line(self.path)}: {one_line(self.reason)}"


class BadImages:
    """The distinct bad images of a run, by split."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._listed: set[str] = set()
        self._found: dict[str, dict[str, BadImage]] = defaultdict(dict)
        self._damaged: dict[str, set[int]] = defaultdict(set)

    def keep_in(self, folder: Path) -> None:
        """List bad images in a folder's file from now on, those that are there already included in all counts."""
        self._file = folder / _FILE
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        complete = text[: text.rfind("\n") + 1]
        if complete != text:  # a process was killed while it wrote
            write_text(self._file, complete)
        try:
            for known in map(json.loads, filter(None, complete.split("\n"))):
                self._listed.add(known["path"])
                self._found[known["split"]][known["path"]] = BadImage(known["path"], known["reason"])
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{one_line(self._file)}: is no list of bad images; move it away") from None

    def add(self, split: str, found: Iterable[BadImage], num_images: int, max_fraction: float) -> None:
        """Take note of bad images.

        Args:
            split: Where they were found.
            found: Known ones are passed over.
            num_images: Of the whole split.
            max_fraction: Share of the split's images that may be bad.

        Raises:
            DataError: More than that are known to be bad.
        """
        known = self._found[split]
        for bad in found:
            if bad.path in known:
                continue
            known[bad.path] = bad
            if self._file is None or len(known) <= _LOGGED:
                logger.warning("%s split: cannot be read: %s", split, bad)
            elif len(known) == _LOGGED + 1:
                logger.warning("%s split: more images that cannot be read are listed in %s", split, self._file)
            if bad.path not in self._listed:
                self._list(bad, split)
        if len(known) > max_fraction * num_images:
            raise self._too_many(split, num_images, max_fraction)

    def add_damaged_metadata(self, split: str, indices: Iterable[int]) -> None:
        """Take note of images that were used although their EXIF block or XMP packet is damaged."""
        self._damaged[split].update(indices)

    def share(self, split: str, num_images: int, max_fraction: float) -> None:
        """Take note of what every rank has found in a split; all ranks must come here.

        Raises:
            DataError: More than `max_fraction` are known to be bad; on all ranks.
        """
        for found, damaged in from_all((list(self._found[split].values()), self._damaged[split])):
            self.add_damaged_metadata(split, damaged)
            self.add(split, found, num_images, max_fraction)

    def count(self, split: str) -> int:
        """Return how many images of a split are known to be bad."""
        return len(self._found[split])

    def log_summary(self, split: str, num_images: int, what_was_done: str) -> None:
        """Say in one line each how many images were bad, and how many had damaged metadata."""
        if bad := self.count(split):
            place = "" if self._file is None else f"; listed in {one_line(self._file)}"
            logger.warning(
                "%s split: %d of %d images cannot be read %s%s", split, bad, num_images, what_was_done, place
            )
        if damaged := len(self._damaged[split]):
            text = "%s split: %d of %d images have damaged EXIF or XMP and are used, upright where it can be read"
            logger.warning(text, split, damaged, num_images)

    def _list(self, bad: BadImage, split: str) -> None:
        self._listed.add(bad.path)
        if self._file is None:
            return
        entry: dict[str, Any] = {**bad._asdict(), "split": split}
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise RunError(f"{one_line(self._file)}: cannot be written: {error.strerror}") from None

    def _too_many(self, split: str, num_images: int, max_fraction: float) -> DataError:
        found = list(self._found[split].values())
        first = "; ".join(map(str, found[:3]))
        place = "" if self._file is None else f", all in {one_line(self._file)}"
        return DataError(
            f"{split} split: {len(found)} of {num_images} images cannot be read, more than max_bad_fraction = "
            f"{max_fraction:g} allows (first {first}{place}); repair or delete them, or raise max_bad_fraction"
        )
