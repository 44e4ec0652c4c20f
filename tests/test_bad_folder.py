"""Folders as people have them, really pretrained on: every kind of bad file, of damaged metadata, of pixel."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from sslkit import DataError, ImageFolder, hookimpl, run
from sslkit.engine.stops import Stopped

torch.set_num_threads(1)

PLUGIN = """
from torch import nn
from sslkit import hookimpl
SSLKIT_API = 1

@hookimpl
def sslkit_register(register):
    register.views("squares", "small:Squares", summary="The image as a square, and turned.")
    register.head("linear", "small:Linear", summary="One linear layer.")
    register.objective("agreement", "small:Agreement", summary="Squared distance of the views.")

class Squares:
    num_views = 2
    def prepare(self, image):
        square = image.resize((32, 32))
        return [square, square.rotate(90)]

class Linear(nn.Linear):
    def __init__(self, in_dim):
        super().__init__(in_dim, 8)
        self.out_dim = 8

class Agreement:
    def __call__(self, projections):
        return (projections[0] - projections[1]).square().mean()
"""

RECIPE = """
schema = 1
name = "folder"
plugins = ["small.py"]
[pretrain]
epochs = 2
batch_size = 20
[pretrain.data]
name = "builtin.image_folder"
folder = "pictures"
on_bad_image = "replace"
[pretrain.views]
name = "local.squares"
[pretrain.backbone]
name = "builtin.timm"
model = "test_resnet"
[pretrain.head]
name = "local.linear"
[pretrain.objective]
name = "local.agreement"
[pretrain.optimizer]
name = "builtin.sgd"
learning_rate = 0.01
"""


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def photograph(number, size=(40, 30)):
    few = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


def bomb():
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + zlib.compress(b"")


def jpeg(number):
    return encoded(photograph(number), "JPEG")


KINDS = {
    "empty": lambda number: b"",
    "text": lambda number: b"<html>404 not found</html>" + bytes([number]),
    "garbage": lambda number: np.random.default_rng(number).bytes(2000),
    "cut jpeg": lambda number: jpeg(number)[:-200],
    "cut png": lambda number: encoded(photograph(number))[:-600],
    "header only": lambda number: jpeg(number)[:20],
    "bomb": lambda number: bomb(),
    "counts": lambda number: encoded(Image.fromarray(np.full((8, 8), 70_000 + number, dtype=np.int32)), "TIFF"),
    "floats": lambda number: encoded(Image.fromarray(np.full((8, 8), 1.5 + number, dtype=np.float32)), "TIFF"),
}


@pytest.fixture
def folder(tmp_path):
    """Two hundred pictures, of which two are bad in each way."""
    (tmp_path / "small.py").write_text(PLUGIN)
    (tmp_path / "folder.toml").write_text(RECIPE)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    bad = set()
    for number in range(2):
        for kind, make in KINDS.items():
            path = pictures / f"{kind} {number}.jpg"
            path.write_bytes(make(number))
            bad.add(str(path))
        link = pictures / f"gone {number}.jpg"
        link.symlink_to(tmp_path / "nowhere.jpg")
        bad.add(str(link))
        if os.name == "posix" and os.getuid() != 0:  # root may read everything
            path = pictures / f"locked {number}.jpg"
            path.write_bytes(jpeg(number))
            path.chmod(0)
            bad.add(str(path))
        (pictures / f"folder {number}.jpg").mkdir()
    for number in range(200 - len(bad)):
        (pictures / f"{number}.jpg").write_bytes(jpeg(number))
    return tmp_path, bad


def start(place, *overrides, **options):
    return run(
        place / "folder.toml", data_root=place, into=place / "run", workers=0, overrides=list(overrides), **options
    )


def listed(place):
    return [json.loads(line) for line in (place / "run" / "bad_images.jsonl").read_text().splitlines()]


class StopAt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def sslkit_step_end(self, state):
        if state.step == self.step:
            os.kill(os.getpid(), 15)


def test_with_replace_it_pretrains_to_the_end_and_lists_each_bad_file_once(folder):
    place, bad = folder
    with pytest.raises(Stopped):  # and a run in two parts lists nothing twice
        start(place, watchers=[StopAt(12)])
    start(place)
    assert json.loads((place / "run" / "summary.json").read_text())["status"] == "finished"
    assert sorted(entry["path"] for entry in listed(place)) == sorted(bad)
    assert all(entry["reason"] and entry["split"] == "pretrain" for entry in listed(place))
    reasons = {Path(entry["path"]).name[:-6]: entry["reason"] for entry in listed(place)}
    assert reasons["gone"] == "no such file"
    assert "bomb" in reasons["bomb"]
    assert "70001" in reasons["counts"] or "70000" in reasons["counts"]
    log = (place / "run" / "log.txt").read_text()
    assert f"{len(bad)} of 200 images cannot be read and were replaced" in log


def test_with_raise_it_stops_at_once_and_names_a_file(folder):
    place, bad = folder
    with pytest.raises(DataError) as caught:
        start(place, "pretrain.data.on_bad_image='raise'")
    assert any(path in str(caught.value) for path in bad)
    assert 'on_bad_image = "replace"' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((place / "run").glob("checkpoints/step-*"))


@pytest.mark.parametrize("override", ["on_bad_image='raise'", "max_bad_fraction=0.01"])
def test_a_stop_for_bad_images_ends_the_loaders_workers_too(folder, command, override):
    place, _ = folder
    line = ["run", place / "folder.toml", "--data-root", place, "--into", place / "run", "--workers", "2"]
    done = command(*line, f"pretrain.data.{override}")  # gives up on a process that does not end
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_above_the_limit_it_stops_with_one_line(folder):
    place, bad = folder
    with pytest.raises(DataError) as caught:
        start(place, "pretrain.data.max_bad_fraction=0.05")
    assert "of 200 images cannot be read, more than max_bad_fraction = 0.05" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert 10 < len(listed(place)) <= len(bad)
    assert json.loads((place / "run" / "status.json").read_text())["status"] == "failed"


def test_damaged_metadata_loses_no_image_no_orientation_and_is_one_line(folder):
    place, _ = folder
    pictures = place / "photographs"
    pictures.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Software] = "a camera that writes long names"
    packet = b'<rdf:Description dc:title="caf\xe9"/>'
    for number in range(60):
        options = {"exif": exif.tobytes()}
        if number < 20:
            options["exif"] = options["exif"][:-10]
        elif number < 35:
            options["xmp"] = packet
        (pictures / f"{number}.jpg").write_bytes(encoded(photograph(number), "JPEG", **options))
    data = ImageFolder(pictures).split("pretrain")
    assert [data[index][0].size for index in range(60)] == [(30, 40)] * 60
    start(place, "pretrain.data.folder='photographs'", "pretrain.data.on_bad_image='raise'")
    log = (place / "run" / "log.txt").read_text()
    assert log.count("EXIF") == 1
    assert "35 of 60 images have damaged EXIF or XMP" in log


def test_every_mode_and_size_of_one_photograph_shares_a_batch(folder):
    place, _ = folder
    modes = place / "modes" / "a"
    modes.mkdir(parents=True)
    (place / "modes" / "b").mkdir()
    sizes = [(20, 300), (300, 20), (600, 400), (64, 64)]
    for number, mode in enumerate(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"] * 2):
        image = photograph(0, sizes[number % 4])
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        image.save(modes / f"{number}.{'tif' if mode in ('CMYK', 'I;16') else 'png'}")
    for number in range(4):
        photograph(number).save(place / "modes" / "b" / f"{number}.png")

    shapes = []

    class Watch:
        @hookimpl
        def sslkit_step_end(self, state, batch):
            shapes.append([tuple(view.shape) for view in batch.views])

    start(
        place,
        "pretrain.data.folder='modes'",
        "pretrain.data.on_bad_image='raise'",
        "pretrain.epochs=1",
        watchers=[Watch()],
    )
    assert shapes == [[(20, 3, 32, 32)] * 2]
    opened = ImageFolder(place / "modes").split("pretrain")
    in_colour = np.asarray(photograph(0, (64, 64)).resize((32, 32))).mean()
    for index in range(16):
        image = opened[index][0]
        assert image.mode == "RGB"
        assert abs(np.asarray(image.resize((32, 32))).mean() - in_colour) < 40
