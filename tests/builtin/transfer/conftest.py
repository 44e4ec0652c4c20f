"""Miniatures: the official layout of each transfer set, with a few generated images of eight pixels."""

import json
import pickle
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sslkit.builtin.data.transfer.class_names import VOC

CODES = {"u1": (9, 2), "u2": (11, 4), "f8": (6, 9)}  # class of the array, type of its data


def element(kind, data, order="<"):
    """Return an element of a MATLAB 5 file."""
    return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def variable(name, kind, shape, *parts, order="<", flags=0):
    """Return an array of a MATLAB 5 file."""
    body = element(6, struct.pack(f"{order}II", kind | flags, 0), order)
    body += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order) + element(1, name, order)
    return element(14, body + b"".join(parts), order)


def array_of(value, name=b""):
    """Return text, numbers, a list (a cell array) or a list of dicts (a struct array) as such an array."""
    if isinstance(value, str):
        return variable(name, 4, (1, len(value)), element(16, value.encode()))
    if isinstance(value, np.ndarray):
        kind, stored = CODES[value.dtype.str[1:]]
        return variable(name, kind, value.shape, element(stored, value.tobytes(order="F")))
    if isinstance(value[0], dict):
        fields = b"".join(field.encode().ljust(32, b"\0") for field in value[0])
        cells = b"".join(array_of(cell) for row in value for cell in row.values())
        return variable(name, 2, (1, len(value)), element(5, struct.pack("<i", 32)), element(1, fields), cells)
    return variable(name, 1, (1, len(value)), *map(array_of, value))


def write_mat(path, body, order="<", version=0x0100):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"test".ljust(124) + struct.pack(f"{order}H", version) + (b"IM" if order == "<" else b"MI") + body)
    return path


def save_mat(path, **variables):
    """Write variables as MATLAB's `save` does, each compressed by itself."""
    packed = [zlib.compress(array_of(value, name.encode())) for name, value in variables.items()]
    return write_mat(path, b"".join(struct.pack("<II", 15, len(part)) + part for part in packed))  # never padded


def draw(path):
    """Write a small image that no other path gets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def food101(root):
    # Source: the archive's README.txt and torchvision's Food101: every list as text and as JSON.
    place = root / "food-101"
    classes = ["apple_pie", "baby_back_ribs", "waffles"]
    write(place / "meta" / "classes.txt", classes)
    write(place / "meta" / "labels.txt", [name.replace("_", " ").capitalize() for name in classes])
    for split, start, count in (("train", 1_000_000, 10), ("test", 2_000_000, 4)):
        names = {name: [f"{name}/{start + number}" for number in range(count)] for name in classes}
        (place / "meta" / f"{split}.json").write_text(json.dumps(names))
        listed = [name for part in names.values() for name in part]
        write(place / "meta" / f"{split}.txt", listed)
        for name in listed:
            draw(place / "images" / f"{name}.jpg")


def sun397(root):
    # Source: the set's web page (SUN397.tar.gz, Partitions.zip) and torchvision's SUN397.
    place = root / "SUN397"
    classes = ["/a/abbey", "/a/apartment_building/outdoor", "/y/youth_hostel"]
    write(place / "ClassName.txt", classes)
    for split, letter, count in (("Training", "a", 5), ("Testing", "b", 5)):
        names = [f"{folder}/sun_{letter}{'xyzvw'[number]}abcdefgh.jpg" for folder in classes for number in range(count)]
        write(root / "Partitions" / f"{split}_01.txt", names)
        for name in names:
            draw(place / name[1:])
    draw(place / "a/abbey/sun_in_no_list.jpg")


def caltech101(root):
    # Source: the folder that 101_ObjectCategories.tar.gz unpacks to; the background has a file that is no image.
    place = root / "caltech101" / "101_ObjectCategories"
    for name, count in (("BACKGROUND_Google", 31), ("Faces", 33), ("accordion", 36)):
        for number in range(1, count + 1):
            draw(place / name / f"image_{number:04d}.jpg")
    (place / "BACKGROUND_Google" / "tmp").write_text("")


def birdsnap(root):
    # Source: the distribution's readme.txt, and the folder that its get_birdsnap.py downloads to.
    place = root / "birdsnap"
    species = [("1", "Acadian Flycatcher", "Empidonax virescens", "Acadian_Flycatcher"),
               ("2", "Cooper's Hawk", "Accipiter cooperii", "Coopers_Hawk")]  # fmt: skip
    write(place / "species.txt", ["\t".join(row) for row in [("id", "common", "scientific", "dir"), *species]])
    rows, test = ["url\tmd5\tpath\tspecies_id\tbb_x1"], ["path"]
    for key, _, _, folder in species:
        for number in range(12):
            path = f"{folder}/{number}00.jpg"
            rows.append(f"http://images.example/{number}\t0123\t{path}\t{key}\t5")
            test += [path] if number > 8 else []
            draw(place / "download" / "images" / path)
    write(place / "images.txt", rows)
    write(place / "test_images.txt", test)


def cars(root):
    # Source: torchvision's StanfordCars and the devkit's README: fields of the annotations in this order.
    place = root / "stanford_cars"
    classes = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
    save_mat(place / "devkit" / "cars_meta.mat", class_names=classes)
    number = np.array
    for split, count, file in (
        ("train", 10, place / "devkit" / "cars_train_annos.mat"),
        ("test", 7, place / "cars_test_annos_withlabels.mat"),
    ):
        rows = [
            {f"bbox_{side}": number([[40 + index]], "u2") for side in ("x1", "y1", "x2", "y2")}
            | {"class": number([[index % 3 + 1]], "u1"), "fname": f"{index + 1:05d}.jpg"}
            for index in range(count)
        ]
        save_mat(file, annotations=rows)
        for row in rows:
            draw(place / f"cars_{split}" / row["fname"])


def aircraft(root):
    # Source: the archive's README and torchvision's FGVCAircraft.
    place = root / "fgvc-aircraft-2013b" / "data"
    variants = ["707-320", "737-700", "F-16A/B"]
    write(place / "variants.txt", variants)
    for start, split in enumerate(["train", "val", "test"]):
        rows = [f"{1_000_000 * start + number:07d} {variants[number % 3]}" for number in range(5)]
        write(place / f"images_variant_{split}.txt", rows)
        for row in rows:
            draw(place / "images" / f"{row.split()[0]}.jpg")


def voc2007(root):
    # Source: the development kit's documentation and torchvision's VOCDetection.
    place = root / "VOCdevkit" / "VOC2007"
    marks = {}
    for start, split in enumerate(["train", "val", "test"]):
        names = [f"{100 * start + number:06d}" for number in range(1, 5)]
        write(place / "ImageSets" / "Main" / f"{split}.txt", names)
        for index, name in enumerate(names):
            marks[name] = {VOC[index]: [0], VOC[14]: [1, 1], VOC[index + 5]: [1, 0]}  # difficult or not, per object
            objects = "".join(
                f"<object><name>{kind}</name><difficult>{difficult}</difficult></object>"
                for kind, difficulties in marks[name].items()
                for difficult in difficulties
            )
            (place / "Annotations").mkdir(exist_ok=True)
            (place / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
            draw(place / "JPEGImages" / f"{name}.jpg")
        for kind in VOC:
            rows = [f"{name} {_voc_mark(marks[name].get(kind))}" for name in names]
            write(place / "ImageSets" / "Main" / f"{kind}_{split}.txt", rows)


def _voc_mark(difficulties):
    if difficulties is None:
        return "-1"
    return " 0" if all(difficulties) else " 1"


def dtd(root):
    # Source: the folder that dtd-r1.0.1.tar.gz unpacks to, and torchvision's DTD.
    place = root / "dtd"
    for start, split in enumerate(["train", "val", "test"]):
        numbers = (10 * start + 1, 10 * start + 2)
        names = [f"{kind}/{kind}_{number:04d}.jpg" for kind in ("banded", "zigzagged") for number in numbers]
        for partition in range(1, 11):
            write(place / "labels" / f"{split}{partition}.txt", names if partition == 1 else names[:1])
        for name in names:
            draw(place / "images" / name)


def pets(root):
    # Source: the README in annotations.tar.gz and torchvision's OxfordIIITPet; images/ has MATLAB files too.
    place = root / "oxford-iiit-pet"
    breeds = [("Abyssinian", 1, 1), ("american_bulldog", 2, 1), ("yorkshire_terrier", 2, 2)]
    rows = [
        [f"{breed}_{number} {label} {kind} {of_kind}" for number in range(1, 9)]
        for label, (breed, kind, of_kind) in enumerate(breeds, 1)
    ]
    write(place / "annotations" / "trainval.txt", [row for part in rows for row in part[:5]])
    write(place / "annotations" / "test.txt", [row for part in rows for row in part[5:]])
    everything = [row for part in rows for row in part]
    write(place / "annotations" / "list.txt", ["#Image CLASS-ID SPECIES BREED ID", *everything])
    for row in everything:
        draw(place / "images" / f"{row.split()[0]}.jpg")
    (place / "images" / "Abyssinian_100.mat").write_bytes(b"")


def flowers102(root):
    # Source: the README.txt beside the archive and torchvision's Flowers102; the numbers are doubles and words.
    place = root / "flowers-102"
    save_mat(place / "imagelabels.mat", labels=np.array([[77, 77, 1, 102, 1, 51, 51, 3, 3, 102]], dtype="f8"))
    sets = {"trnid": [3, 8, 1], "valid": [5, 2], "tstid": [4, 10, 6, 7, 9]}
    save_mat(place / "setid.mat", **{name: np.array([numbers], dtype="u2") for name, numbers in sets.items()})
    for number in range(1, 11):
        draw(place / "jpg" / f"image_{number:05d}.jpg")


def cifar(root, folder, files, labels_key, num_classes):
    rng = np.random.default_rng(0)
    for split in files:
        (root / folder).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = {"data": pixels, labels_key: rng.integers(0, num_classes, 20).tolist()}
        (root / folder / split).write_bytes(pickle.dumps(content, protocol=2))


def cifar10(root):
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    cifar(root, "cifar-10-batches-py", files, "labels", 10)


def cifar100(root):
    cifar(root, "cifar-100-python", ["train", "test"], "fine_labels", 100)


MAKERS = {
    maker.__name__: maker
    for maker in (
        food101, cifar10, cifar100, birdsnap, sun397, cars, aircraft, voc2007, dtd, pets, caltech101, flowers102,
    )
}  # fmt: skip


@pytest.fixture(scope="session")
def mat():
    """Return what writes MATLAB files."""
    return SimpleNamespace(element=element, variable=variable, write=write_mat, save=save_mat)


@pytest.fixture
def miniature(tmp_path):
    """Return a function that makes the miniature of a set and returns the folder to name in a recipe: its `root`."""

    def make(dataset):
        MAKERS[dataset](make.root)
        return make.root

    make.root = tmp_path / "data"
    return make
