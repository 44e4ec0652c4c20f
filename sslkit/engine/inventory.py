"""Which images a run began with, in a few lines, so that a refusal can say what has changed since.

Enters: the source of a pretraining's images. Leaves: a fingerprint, which decides; an inventory by class or folder,
kept beside the checkpoints; and words for the difference between two. Called by `run`, `pretrain` and `state`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from sslkit.engine.batches import Source
from sslkit.engine.interfaces import Dataset
from sslkit.run_folder import read_json, write_json
from sslkit.text import one_line

_FILE: Final = "data.json"
_MOST_GROUPS: Final = 1024  # ImageNet has 1000 classes
_NAMED: Final = 5


def fingerprint_of(dataset: Dataset) -> str:
    """Return what stays as long as the images of a dataset do; of one without `fingerprint`, their number."""
    fingerprint = getattr(dataset, "fingerprint", None)
    return str(len(dataset) if fingerprint is None else fingerprint())


def keep_inventory(folder: Path, source: Source) -> None:
    """Write the inventory of the images that a run begins with into its folder of checkpoints, unless it is there."""
    fingerprint = fingerprint_of(source.dataset)
    known = read_json(folder / _FILE)
    if known is None or known.get("fingerprint") != fingerprint:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _FILE, {"fingerprint": fingerprint, **inventory(source)})


def what_differs(folder: Path, source: Source) -> str:
    """Return in words how the images differ from those that a run began with."""
    before = read_json(folder / _FILE)
    if before is None or not before.keys() >= {"total", "by", "groups"}:
        return f"there are {len(source.dataset):,} now, what there was is not known"
    return difference(before, inventory(source))


def inventory(source: Source) -> dict[str, Any]:
    """Return number and hash of the images by class; by first folder where there are no classes.

    The hash is over names and sizes in bytes, in any order; where images have no names, it says nothing.

    Returns:
        `total`; `by`, "class" or "folder"; `groups`, name to [number, hash], empty if there are more than 1024.
    """
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, int] = defaultdict(int)
    for group, name, size in _entries(source):
        counts[group] += 1
        digest = hashlib.blake2b(f"{name}\0{size}".encode(errors="surrogateescape"), digest_size=8).digest()
        sums[group] = (sums[group] + int.from_bytes(digest)) % 2**64
    groups = {one_line(group): [counts[group], f"{sums[group]:016x}"] for group in sorted(counts)}
    by = "folder" if _classes(source) is None else "class"
    return {"total": len(source.dataset), "by": by, "groups": groups if len(groups) <= _MOST_GROUPS else {}}


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words what two inventories have differently."""
    total, had = now["total"], before["total"]
    parts = []
    if total != had:
        noun = "image" if abs(total - had) == 1 else "images"
        parts.append(f"{abs(total - had):,} {noun} {'more' if total > had else 'fewer'} ({total:,}, were {had:,})")
    found = list(_group_differences(before, now)) if before["by"] == now["by"] else []
    if found:
        more = f"; and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        parts.append("; ".join(found[:_NAMED]) + more)
    return ": ".join(parts) or "as many as before, but of other names, sizes or pixels, or in another order"


def _group_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield one phrase for each class or folder that is not as before; none where all images are outside of them."""
    was, is_ = before["groups"], now["groups"]
    by = now["by"]
    if not was or not is_ or was.keys() | is_.keys() == {""}:
        return
    gone, new = ([name for name in one if name not in other] for one, other in ((was, is_), (is_, was)))
    for name in gone:
        called = next((other for other in new if is_[other] == was[name]), None)
        if called is None:
            yield f"{_named(by, name)} is gone (had {was[name][0]:,})"
        else:
            new.remove(called)
            yield f"{_named(by, name)} is now called {called}"
    yield from (f"{_named(by, name)} is new ({is_[name][0]:,})" for name in new)
    for name in sorted(was.keys() & is_.keys()):
        (count, digest), (had, former) = is_[name], was[name]
        if count != had:
            yield f"{_named(by, name)} has {count:,}, had {had:,}"
        elif digest != former:
            yield f"{_named(by, name)} has other names or sizes"


def _named(by: str, name: str) -> str:
    return f"{by} {name}" if name else f"what is in no {by}"


def _entries(source: Source) -> Iterator[tuple[str, str, int]]:
    """Yield (class or first folder, name in it, size in bytes) of every image, in their order."""
    entries = getattr(source.dataset, "entries", None)
    listed = (("", 0) for _ in range(len(source.dataset))) if entries is None else entries()
    classes = _classes(source)
    for position, (name, size) in enumerate(listed):
        folder, _, rest = name.partition("/") if "/" in name else ("", "", name)
        group = folder if classes is None else classes[position]
        yield group, rest if group == folder else name, size


def _classes(source: Source) -> list[str] | None:
    """Return the class of every image, "" where it has none; None if there are no classes, or many to an image."""
    labels = np.asarray(getattr(source.dataset, "labels", ()))
    names = source.class_names
    if names is None or labels.ndim != 1 or not len(labels) or not -1 <= labels.min() <= labels.max() < len(names):
        return None
    named = [*names, ""]
    return [named[label] for label in labels.tolist()]
