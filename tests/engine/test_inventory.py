from __future__ import annotations

import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Arrays, ImageFolder, ImageList, ImageNet, Shapes, TarShards
from sslkit.engine.batches import Source
from sslkit.engine.inventory import difference, fingerprint_of, inventory, keep_inventory, what_differs


class WholeImages:
    whole_images = True


def source(data):
    return Source.of(data, WholeImages())


def image(path, colour=0, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 0, 0)).save(path)


@pytest.fixture
def animals(tmp_path):
    """Three classes of 20 + 20 + 30 images."""
    for name, count in {"cat": 20, "hund": 20, "owl": 30}.items():
        for number in range(count):
            image(tmp_path / "animals" / name / f"{number}.png", number)
    return tmp_path / "animals"


def changed(data_of, before, change):
    """Return what is said to differ after a change; the fingerprint must have noticed it as well."""
    first = source(data_of())
    keep_inventory(before, first)
    fingerprint = fingerprint_of(first.dataset)
    change()
    now = source(data_of())
    assert fingerprint_of(now.dataset) != fingerprint
    return what_differs(before, now)


def test_what_was_added_to_a_class_is_counted(animals, tmp_path):
    def add():
        for number in range(5):
            image(animals / "cat" / f"new{number}.png")

    said = changed(lambda: ImageFolder(animals), tmp_path, add)
    assert said == "5 images more (75, were 70): class cat has 25, had 20"


def test_what_was_deleted_is_counted_class_by_class(animals, tmp_path):
    def delete():
        for place in ("cat/1", "cat/2", "hund/7", "owl/0", "owl/29"):
            (animals / f"{place}.png").unlink()

    said = changed(lambda: ImageFolder(animals), tmp_path, delete)
    assert said == (
        "5 images fewer (65, were 70): class cat has 18, had 20; class hund has 19, had 20; class owl has 28, had 30"
    )


def test_a_renamed_class_is_recognised_by_its_images(animals, tmp_path):
    said = changed(lambda: ImageFolder(animals), tmp_path, lambda: (animals / "hund").rename(animals / "dog"))
    assert said == "class hund is now called dog"


def test_a_class_of_other_images_is_gone_and_new(animals, tmp_path):
    def exchange():
        shutil.rmtree(animals / "hund")
        image(animals / "dog" / "rex.png")

    said = changed(lambda: ImageFolder(animals), tmp_path, exchange)
    assert said == "19 images fewer (51, were 70): class hund is gone (had 20); class dog is new (1)"


def test_renamed_and_resized_files_are_told_by_their_class(animals, tmp_path):
    def change():
        (animals / "cat" / "3.png").rename(animals / "cat" / "three.png")
        image(animals / "owl" / "4.png", size=(80, 80))

    said = changed(lambda: ImageFolder(animals), tmp_path, change)
    assert said == "class cat has other names or sizes; class owl has other names or sizes"


def test_one_image_moved_to_another_class_shows_in_both(animals, tmp_path):
    said = changed(
        lambda: ImageFolder(animals), tmp_path, lambda: (animals / "cat/3.png").rename(animals / "owl" / "cat3.png")
    )
    assert said == "class cat has 19, had 20; class owl has 31, had 30"


def test_without_classes_folders_are_told(animals, tmp_path):
    image(animals / "loose.png")
    said = changed(lambda: ImageFolder(animals), tmp_path, lambda: image(animals / "owl" / "x.png"))
    assert said == "1 image more (72, were 71): folder owl has 31, had 30"


def test_without_folders_the_number_is_told(tmp_path):
    for number in range(4):
        image(tmp_path / "flat" / f"{number}.png")

    def data():
        return ImageFolder(tmp_path / "flat")

    assert changed(data, tmp_path, lambda: image(tmp_path / "flat" / "4.png")) == "1 image more (5, were 4)"
    keep_inventory(tmp_path, source(data()))
    (tmp_path / "flat" / "4.png").rename(tmp_path / "flat" / "five.png")
    assert what_differs(tmp_path, source(data())).startswith("as many as before, but of other names, sizes or pixels")


def test_new_dates_and_another_place_change_nothing(animals, tmp_path):
    first = source(ImageFolder(animals))
    for path in sorted(animals.rglob("*.png"), reverse=True):
        os.utime(path, (1, 1))
    shutil.copytree(animals, tmp_path / "elsewhere" / "photos")
    again = source(ImageFolder(tmp_path / "elsewhere" / "photos"))
    assert fingerprint_of(first.dataset) == fingerprint_of(again.dataset)
    assert inventory(first) == inventory(again)


def test_imagenet(tmp_path):
    for name in ("n01", "n02"):
        for number in range(3):
            image(tmp_path / "set" / "train" / name / f"{name}_{number}.JPEG")
    said = changed(
        lambda: ImageNet(tmp_path / "set"), tmp_path, lambda: (tmp_path / "set/train/n02/n02_1.JPEG").unlink()
    )
    assert said == "1 image fewer (5, were 6): class n02 has 2, had 3"


def test_image_list(animals, tmp_path):
    lines = [f"{name}/{number}.png,{name}" for name in ("cat", "owl") for number in range(20)]

    def write(lines):
        (animals / "train.csv").write_text("\n".join(lines) + "\n")

    def data():
        return ImageList(animals, train="train.csv")

    write(lines)
    assert changed(data, tmp_path, lambda: write([*lines, "hund/0.png,cat"])) == (
        "1 image more (41, were 40): class cat has 21, had 20"
    )
    keep_inventory(tmp_path, source(data()))
    write([*lines[:-1], "owl/19.png,cat", "hund/0.png,cat"])
    assert what_differs(tmp_path, source(data())) == "class cat has 22, had 21; class owl has 19, had 20"
    keep_inventory(tmp_path, source(data()))
    write(reversed([*lines[:-1], "owl/19.png,cat", "hund/0.png,cat"]))
    assert "in another order" in what_differs(tmp_path, source(data()))


def shard(path, samples):
    with tarfile.open(path, "w") as tar:
        for key, label in samples:
            file = io.BytesIO()
            Image.new("RGB", (8, 8)).save(file, "PNG")
            for name, content in ((f"{key}.png", file.getvalue()), (f"{key}.cls", label.encode())):
                if content:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def test_tar_shards(tmp_path):
    shard(tmp_path / "a.tar", [(f"{number}", "cat") for number in range(4)])
    shard(tmp_path / "b.tar", [(f"{number}", "owl") for number in range(4)])

    def data():
        return TarShards(tmp_path, train="*.tar")

    more = [(f"{number}", "owl") for number in range(6)]
    assert changed(data, tmp_path, lambda: shard(tmp_path / "b.tar", more)) == (
        "2 images more (10, were 8): class owl has 6, had 4"
    )
    keep_inventory(tmp_path, source(data()))
    os.utime(tmp_path / "b.tar", (1, 1))
    assert fingerprint_of(source(data()).dataset) == json.loads((tmp_path / "data.json").read_text())["fingerprint"]


def test_tar_shards_without_labels_are_told_by_shard(tmp_path):
    shard(tmp_path / "a.tar", [(f"{number}", "") for number in range(4)])
    shard(tmp_path / "b.tar", [(f"{number}", "") for number in range(4)])
    more = [(f"{number}", "") for number in range(6)]
    assert changed(lambda: TarShards(tmp_path, train="*.tar"), tmp_path, lambda: shard(tmp_path / "b.tar", more)) == (
        "2 images more (10, were 8): folder b.tar has 6, had 4"
    )


def test_arrays_in_files(tmp_path):
    def write(labels, colour=0):
        np.save(tmp_path / "x.npy", np.full((len(labels), 8, 8, 3), colour, dtype=np.uint8))
        np.save(tmp_path / "y.npy", np.array(labels))

    def data():
        return Arrays(tmp_path, train="x.npy", train_labels="y.npy", class_names=["cat", "owl"])

    write([0, 0, 1])
    assert changed(data, tmp_path, lambda: write([0, 0, 1, 1])) == ("1 image more (4, were 3): class owl has 2, had 1")
    keep_inventory(tmp_path, source(data()))
    write([0, 0, 1, 1], colour=9)
    assert "pixels" in what_differs(tmp_path, source(data()))


def test_tables_in_memory(tmp_path):
    keep_inventory(tmp_path, source(Shapes(image_size=16, num_train=20)))
    said = what_differs(tmp_path, source(Shapes(image_size=16, num_train=21)))
    assert said.startswith("1 image more (21, were 20): class ")


def test_of_any_dataset_the_number_is_known(tmp_path):
    images = [(torch.zeros(3, 8, 8, dtype=torch.uint8), -1)] * 5
    keep_inventory(tmp_path, source(images))
    assert fingerprint_of(images) == "5"
    assert what_differs(tmp_path, source(images[:3])) == "2 images fewer (3, were 5)"


def test_the_first_inventory_is_kept_until_the_images_are_others(animals, tmp_path):
    keep_inventory(tmp_path / "run", source(ImageFolder(animals)))
    written = (tmp_path / "run" / "data.json").stat().st_mtime_ns
    keep_inventory(tmp_path / "run", source(ImageFolder(animals)))
    assert (tmp_path / "run" / "data.json").stat().st_mtime_ns == written
    image(animals / "owl" / "x.png")
    keep_inventory(tmp_path / "run", source(ImageFolder(animals)))
    assert json.loads((tmp_path / "run" / "data.json").read_text())["total"] == 71


def test_a_run_without_an_inventory_is_told_by_number(animals, tmp_path):
    now = source(ImageFolder(animals))
    assert what_differs(tmp_path, now) == "there are 70 now, what there was is not known"
    (tmp_path / "data.json").write_text("{}")
    assert what_differs(tmp_path, now) == "there are 70 now, what there was is not known"


def test_many_differences_are_summed_up():
    def many(names):
        return {"total": 10, "by": "class", "groups": {name: [1, name] for name in names}}

    said = difference(many("abcdefghij"), many("klmnopqrst"))
    assert said.count(";") == 5
    assert said.endswith("; and 15 more")


class ManyFolders:
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def entries(self):
        return ((f"{number}/a.png", 7) for number in range(self.count))


def test_an_inventory_stays_small():
    small, large = inventory(Source(ManyFolders(1024))), inventory(Source(ManyFolders(1025)))
    assert len(small["groups"]) == 1024
    assert large["groups"] == {}
    assert difference(small, large) == "1 image more (1,025, were 1,024)"


def test_hostile_names_are_kept_harmless(tmp_path):
    class Hostile(ManyFolders):
        def entries(self):
            return ((f"\x1b[31m{number}\udc80/a.png", 7) for number in range(self.count))

    keep_inventory(tmp_path, Source(Hostile(2)))
    assert what_differs(tmp_path, Source(Hostile(3))) == "1 image more (3, were 2): folder \\x1b[31m2\\udc80 is new (1)"
