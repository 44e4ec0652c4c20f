"""Images with the statistics of photographs, and a folder in which one of everything is wrong."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sslkit.audit.audit import audit
from sslkit.audit.report import json_lines


def make_photo(seed, size=(240, 180)):
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    fine = generator.normal(0, 12, (size[1], size[0], 1))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + fine, 0, 255).astype(np.uint8))


def encode(image, format="JPEG", **options):
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def with_position():
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
    return exif


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture(scope="session")
def photo():
    return make_photo


@pytest.fixture(scope="session")
def messy(tmp_path_factory):
    """Return a folder of two splits and two classes with one of everything that an audit finds."""
    root = tmp_path_factory.mktemp("messy")
    files = {
        f"{split}/{label}/{number}.jpg": encode(make_photo(10 * len(split) + 100 * len(label) + number))
        for split, amount in (("train", 6), ("test", 2))
        for label in ("owl", "heron")
        for number in range(amount)
    }
    first, second, third = (make_photo(seed) for seed in (1, 2, 3))
    whole = encode(first)
    files |= {
        "train/owl/cut.jpg": whole[: len(whole) // 2],
        "train/owl/page.png": b"<html>not found</html>",
        "train/owl/same.jpg": files["train/heron/0.jpg"],
        "test/owl/leak.jpg": files["train/owl/1.jpg"],
        "train/heron/original.png": encode(second, "PNG"),
        "train/heron/half.jpg": encode(second.resize((120, 90)), quality=90),
        "test/heron/brighter.jpg": encode(second.point(lambda value: min(255, value * 1.1))),
        "train/owl/scan.png": encode(Image.new("RGB", (200, 150), (250, 250, 245)), "PNG"),
        "train/owl/moved.jpg": encode(make_photo(4).filter(ImageFilter.GaussianBlur(4))),
        "train/owl/strip.jpg": encode(make_photo(5, (400, 60))),
        "train/owl/stamp.jpg": encode(make_photo(6, (40, 30))),
        "train/owl/print.jpg": encode(make_photo(7).convert("CMYK")),
        "train/owl/turned.jpg": encode(third.transpose(Image.Transpose.ROTATE_90), exif=turned(6)),
        "train/owl/located.jpg": encode(make_photo(8), exif=with_position()),
        "train/owl/camera.jpg": encode(make_photo(9), exif=with_position().tobytes()[:30]),
        "train/owl/.DS_Store": b"x",
        "train/notes.txt": b"x",
    }
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture(scope="session")
def audited(messy):
    return audit(messy, workers=1)


@pytest.fixture(scope="session")
def rows(audited):
    return {row["path"]: row for row in map(json.loads, json_lines(audited).splitlines())}
