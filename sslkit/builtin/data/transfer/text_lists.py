"""Sets whose splits come as text lists: Food-101, FGVC Aircraft, DTD, Oxford Pets, Birdsnap.

Enters: a set's folder. Leaves: its layout. Called by `transfer_sets`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslkit import DataError, one_line
from sslkit.builtin.data.transfer.layout import Layout, Listed, in_range, lines_of, numbers_of, place_of


def food101(root: Path) -> Layout:
    """`food-101/`: `images/<class>/<number>.jpg`, and `meta/{classes,train,test}.txt`."""
    place = place_of(root, "food101", ["food-101"], "meta")
    classes = tuple(lines_of(place / "meta" / "classes.txt", "food101", root))

    def read(split: str) -> Listed:
        path = place / "meta" / f"{split}.txt"
        names = lines_of(path, "food101", root)
        return Listed(
            [f"images/{name}.jpg" for name in names],
            numbers_of((name.partition("/")[0] for name in names), classes, path),
        )

    return Layout(place, classes, read)


def aircraft(root: Path) -> Layout:
    """`fgvc-aircraft-2013b/data/`: `images/<number>.jpg`, `variants.txt`, `images_variant_{train,val,test}.txt`."""
    place = place_of(root, "aircraft", ["fgvc-aircraft-2013b/data", "data"], "variants.txt")
    classes = tuple(lines_of(place / "variants.txt", "aircraft", root))

    def read(split: str) -> Listed:
        path = place / f"images_variant_{'val' if split == 'validation' else split}.txt"
        pairs = [line.partition(" ") for line in lines_of(path, "aircraft", root)]
        return Listed(
            [f"images/{number}.jpg" for number, _, _ in pairs],
            numbers_of((variant for _, _, variant in pairs), classes, path),
        )

    return Layout(place, classes, read, has_validation=True)


def dtd(root: Path) -> Layout:
    """`dtd/`: `images/<class>/<file>`, and `labels/{train,val,test}1.txt`, the first of ten splits."""
    place = place_of(root, "dtd", ["dtd", "dtd/dtd"], "labels")

    def path_of(split: str) -> Path:
        return place / "labels" / f"{'val' if split == 'validation' else split}1.txt"

    def names_of(split: str) -> list[str]:
        return lines_of(path_of(split), "dtd", root)

    classes = tuple(
        sorted({name.partition("/")[0] for split in ("train", "validation", "test") for name in names_of(split)})
    )

    def read(split: str) -> Listed:
        names = names_of(split)
        return Listed(
            [f"images/{name}" for name in names],
            numbers_of((name.partition("/")[0] for name in names), classes, path_of(split)),
        )

    return Layout(place, classes, read, has_validation=True)


def pets(root: Path) -> Layout:
    """`oxford-iiit-pet/`: `images/<breed>_<number>.jpg`, and `annotations/{trainval,test}.txt`."""
    place = place_of(root, "pets", ["oxford-iiit-pet"], "annotations")

    def rows_of(split: str) -> tuple[Path, list[str], list[int]]:
        path = place / "annotations" / f"{'trainval' if split == 'train' else split}.txt"
        rows = [line.split() for line in lines_of(path, "pets", root)]
        try:
            return path, [row[0] for row in rows], [int(row[1]) - 1 for row in rows]
        except (IndexError, ValueError):
            raise DataError(f"{one_line(path)}: expected lines such as `Abyssinian_100 1 1 1`") from None

    _, names, numbers = rows_of("train")
    breeds = dict(sorted(zip(numbers, (name.rpartition("_")[0] for name in names), strict=True)))
    classes = tuple(breeds.get(number, f"breed {number + 1}") for number in range(max(breeds) + 1))

    def read(split: str) -> Listed:
        path, names, numbers = rows_of(split)
        return Listed(
            [f"images/{name}.jpg" for name in names], in_range(np.array(numbers, dtype=np.int64), classes, path)
        )

    return Layout(place, classes, read)


def birdsnap(root: Path) -> Layout:
    """`birdsnap/`: `species.txt`, `images.txt`, `test_images.txt`, and what `get_birdsnap.py` put in `download/`."""
    place = place_of(root, "birdsnap", ["birdsnap"], "images.txt")
    species = _table(place / "species.txt", root, ("id", "common"))
    classes = tuple(name for _, name in species)
    number = {key: index for index, (key, _) in enumerate(species)}
    images = place_of(place, "birdsnap", ["download"], "images")

    def read(split: str) -> Listed:
        path = place / "images.txt"
        rows = _table(path, root, ("path", "species_id"))
        test = {row[0] for row in _table(place / "test_images.txt", root, ("path",))}
        chosen = [row for row in rows if (row[0] in test) == (split == "test")]
        for _, key in chosen:
            if key not in number:
                raise DataError(f"{one_line(path)}: species {one_line(key)!r} is not in species.txt")
        return Listed(
            [f"images/{image}" for image, _ in chosen], np.array([number[key] for _, key in chosen], dtype=np.int64)
        )

    return Layout(images, classes, read, may_lack=True)


def _table(path: Path, root: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return some columns of a file of tab-separated values whose first line names them."""
    heading, *rows = (line.split("\t") for line in lines_of(path, "birdsnap", root))
    try:
        places = [heading.index(column) for column in columns]
        return [tuple(row[place] for place in places) for row in rows]
    except (ValueError, IndexError):
        raise DataError(
            f"{one_line(path)}: expected tab-separated columns {', '.join(columns)}, named in the first line"
        ) from None
