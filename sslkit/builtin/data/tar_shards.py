"""Images in tar files, as WebDataset writes them, read at random: order and resume stay exact.

Enters: a folder of plain tar files. Leaves: map-style data sets of (PIL image, label). Called by the engine for
the recipe's data tables.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from sslkit import IMAGE_SUFFIXES, AbsentError, DataError, cached_arrays, did_you_mean, one_line, open_image
from sslkit.builtin.data.classes import class_names_of, class_numbers
from sslkit.builtin.data.shard_files import Shard, find_shards
from sslkit.builtin.data.tar_index import HEADER, Wanted, index_shards

logger = logging.getLogger("sslkit")

_LAYOUT = 1  # of the index: raise it when `index_shards` returns something else


class ShardImages:
    """A map-style data set of images in tar files.

    Args:
        shards: The tar files.
        index: What `index_shards` found in them.
        numbers: The class number of each distinct label, and -1 at the end.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        index: Mapping[str, npt.NDArray[Any]],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        self._shards = list(shards)
        self._index = index
        self._numbers = numbers

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [n], -1 where there is none."""
        labels: npt.NDArray[np.int64] = self._numbers[self._index["which"]]
        return labels

    def __len__(self) -> int:
        return len(self._index["shard"])

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one image, upright and in RGB, and its label.

        Raises:
            BadImageError: The image cannot be read; the message names shard and member.
            DataError: The shard is gone, or not what it was.
            IndexError: There is no such image.
        """
        position = range(len(self))[index]
        label = int(self._numbers[self._index["which"][position]])
        return open_image(self._content(position), name=self.describe(position)), label

    def describe(self, index: int) -> str:
        """Return the shard's path and the member's name, as messages give them."""
        position = range(len(self))[index]
        start, end = self._index["ends"][position : position + 2]
        name = os.fsdecode(self._index["names"][start:end].tobytes())
        return f"{self._shards[self._index['shard'][position]].path}!{name}"

    def entries(self) -> Iterator[tuple[str, int]]:
        """Yield shard and member, as `shard.tar/member`, and size in bytes of every image, in their order."""
        names, ends = self._index["names"].tobytes(), self._index["ends"].tolist()
        shards, sizes = self._index["shard"].tolist(), self._index["size"].tolist()
        for shard, (start, end), size in zip(shards, itertools.pairwise(ends), sizes, strict=True):
            yield f"{self._shards[shard].name}/{os.fsdecode(names[start:end])}", size

    def fingerprint(self) -> str:
        """Return a SHA-256 over (shard, member, size in bytes, label) of all images in their order."""
        digest = hashlib.sha256("\0".join(shard.name for shard in self._shards).encode(errors="surrogateescape"))
        for name in ("shard", "names", "ends", "size"):
            digest.update(np.ascontiguousarray(self._index[name]).data)
        digest.update(self.labels.data)
        return digest.hexdigest()

    def _content(self, position: int) -> bytes:
        shard = self._shards[self._index["shard"][position]]
        offset, size = int(self._index["offset"][position]), int(self._index["size"][position])
        try:
            file = _opened(shard.path, shard.changed)
            member = os.pread(file.number, HEADER + size, offset - HEADER)
        except OSError as error:
            raise DataError(f"{one_line(shard.path)}: {error.strerror or error}") from error
        # A header knows name, size and time: a shard that was exchanged never gives another image's bytes.
        if len(member) < HEADER + size or zlib.crc32(member[:HEADER]) != self._index["header"][position]:
            raise DataError(f"{one_line(shard.path)}: changed since it was indexed; start again to index it anew")
        return member[HEADER:]


class TarShards:
    """Images in plain tar files, as WebDataset writes them, on a disk.

    A sample is all members with the same key: the name up to the first dot behind the last slash, such as
    `000001.jpg` and `000001.cls`. Each image has its place in one index over all shards, so shards are read at
    random like a folder: no shuffle buffer, exact order, exact resume. The index is made on first use from the
    headers, and kept in the cache.

    Classes are the distinct labels of the train split, sorted; where all are whole numbers, as such: 0 to n - 1
    keep their numbers. Other splits are matched by name. An empty label, -1, or none means no label. A sample
    with a label but no image, or with two images, is refused; one with neither is left out, and counted in the log.

    Args:
        root: The folder that the shards are in.
        train: The shards of the train split, which is the pretrain split as well: a file name or several, with
            `*` and `?`, or ranges as in `train-{000..146}.tar`.
        validation: The shards of the validation split.
        test: The shards of the test split.
        image: Extension of the member that is the image, such as `left.jpg`; left out, any that images have.
        label: Extension of the member that holds the label: whole number or text, or JSON for one that ends in
            `json`; left out, `cls` where there is one; `none` does without labels.
        label_key: Key of the label in a JSON member.
        on_bad_image: What pretraining does with an image that cannot be read: `raise` an error that names
            it, or `replace` it with another one, chosen by a fixed rule.
        max_bad_fraction: Pretraining stops when more than this share of all images could not be read.

    Attributes:
        num_classes: Number of classes, None without labels.
        class_names: Their names in the order of their numbers, None without labels.
        on_bad_image: As above.
        max_bad_fraction: As above.

    Raises:
        AbsentError: The folder does not exist.
        DataError: A shard is missing, compressed, damaged or cut short.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        train: str | list[str],
        validation: str | list[str] | None = None,
        test: str | list[str] | None = None,
        image: str | None = None,
        label: str | None = None,
        label_key: str = "label",
        on_bad_image: Literal["raise", "replace"] = "raise",
        max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    ) -> None:
        self.on_bad_image: Literal["raise", "replace"] = on_bad_image
        self.max_bad_fraction = max_bad_fraction
        self._root = Path(root)
        if not self._root.is_dir():
            raise AbsentError(f"{one_line(root)}: no such folder; see `folder` in the recipe and --data-root")
        self._patterns = {"train": train, "validation": validation, "test": test}
        self._wanted = Wanted(
            image=None if image is None else image.lower().removeprefix("."),
            label=None if label == "none" else (label or "cls").lower().removeprefix("."),
            label_key=label_key,
            must_have_label=label not in (None, "none"),
        )
        shards, index = self._indexed("train", train)
        self.class_names = class_names_of(_texts(index))
        self.num_classes = None if self.class_names is None else len(self.class_names)
        self._splits = {"train": self._numbered("train", shards, index)}

    def split(self, name: str) -> ShardImages:
        """Return the split `pretrain`, `train`, `validation` or `test`, indexed on first use.

        Raises:
            AbsentError: There is no such split.
            DataError: Its shards are missing or damaged, or it has a class that the train split lacks.
        """
        name = "train" if name == "pretrain" else name
        if name not in self._patterns:
            raise AbsentError(f"no split {one_line(name)!r}{did_you_mean(name, ['pretrain', *self._patterns])}")
        if name not in self._splits:
            patterns = self._patterns[name]
            if patterns is None:
                raise AbsentError(f'{one_line(self._root)}: no {name} split; say which shards, `{name} = "..."`')
            self._splits[name] = self._numbered(name, *self._indexed(name, patterns))
        return self._splits[name]

    def _indexed(self, split: str, patterns: str | list[str]) -> tuple[list[Shard], dict[str, npt.NDArray[Any]]]:
        shards = find_shards(self._root, [patterns] if isinstance(patterns, str) else patterns)
        if not shards:
            raise DataError(f'{one_line(self._root)}: {split} names no shards; `{split} = "*.tar"` takes all')
        depends = [_LAYOUT, self._wanted, sorted(IMAGE_SUFFIXES), [shard[1:] for shard in shards]]
        key = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
        index = cached_arrays(key, functools.partial(index_shards, shards, self._wanted))
        without_key, without_image = index["left_out"].tolist()
        if without_key:
            logger.info("%s: ignored, because not named KEY.EXTENSION: %d", split, without_key)
        if without_image:
            logger.info("%s: samples left out, because they have no image: %d", split, without_image)
        return shards, index

    def _numbered(self, split: str, shards: list[Shard], index: dict[str, npt.NDArray[Any]]) -> ShardImages:
        unlabelled = ShardImages(shards, index, np.empty(0, dtype=np.int64))
        numbers = class_numbers(
            _texts(index),
            index["which"],
            self.class_names,
            split=split,
            describe=lambda position: one_line(unlabelled.describe(position)),
        )
        return ShardImages(shards, index, numbers)


class _Descriptor:
    """An open file that closes with the last reference to it: never while another thread reads from it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@functools.lru_cache(maxsize=64)  # per process: a fork may share it, since pread moves no common position
def _opened(path: str, changed: int) -> _Descriptor:
    return _Descriptor(os.open(path, os.O_RDONLY))


def _texts(index: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    return [label.decode() for label in index["labels"].tolist()]
