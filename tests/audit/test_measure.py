"""What is measured of one file, against plain definitions."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sslkit.audit import lightly
from sslkit.audit.measure import measure, small_copy
from sslkit.images import open_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's, of damaged metadata


def pixels(folder, image, name="a.png"):
    image.save(folder / name)
    return measure(folder, name).pixels


def test_sums_are_exact(tmp_path, photo):
    image = photo(1, (333, 77))
    measured = pixels(tmp_path, image)
    values = np.asarray(image, dtype=np.int64)
    assert measured.sums == tuple(values.sum(axis=(0, 1)))
    assert measured.squares == tuple((values**2).sum(axis=(0, 1)))
    assert (measured.width, measured.height) == (333, 77)


def test_the_size_is_that_of_the_upright_image(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 8
    for format in ("jpg", "png", "tif"):
        photo(1, (90, 50)).save(tmp_path / f"a.{format}", exif=exif)
        facts = measure(tmp_path, f"a.{format}")
        assert (facts.pixels.width, facts.pixels.height) == (50, 90)
        assert facts.header.orientation == 8


def test_damage_behind_the_orientation_does_not_hide_it(tmp_path, photo):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker's name", 6
    photo(1, (90, 50)).save(tmp_path / "a.jpg", exif=exif.tobytes()[:-10])
    facts = measure(tmp_path, "a.jpg")
    assert facts.header.damaged
    assert facts.header.orientation == 6
    assert (facts.pixels.width, facts.pixels.height) == (50, 90)


def test_blur_lowers_sharpness_however_bright_the_image(tmp_path, photo):
    dark = photo(1).point(lambda value: value // 4)
    bright = photo(2).filter(ImageFilter.GaussianBlur(3)).point(lambda value: 200 + value // 8)
    assert pixels(tmp_path, bright).sharpness < pixels(tmp_path, dark).sharpness / 3


def test_sharpness_of_one_scene_hardly_depends_on_its_resolution(tmp_path):
    stripes = np.tile((np.arange(512) // 8 % 2 * 200).astype(np.uint8), (384, 1))
    normal = Image.fromarray(stripes)
    large = normal.resize((2048, 1536), Image.Resampling.NEAREST)
    assert pixels(tmp_path, large).sharpness == pytest.approx(pixels(tmp_path, normal).sharpness, rel=0.02)


def test_an_image_of_few_pixels_is_measured(tmp_path):
    for size in ((1, 1), (2, 5), (3000, 1)):
        measured = pixels(tmp_path, Image.new("RGB", size, "grey"))
        assert measured.sharpness == 0
        assert measured.contrast == pytest.approx(0, abs=1e-9)
        assert measured.signal_to_noise == 0


def test_contrast_is_of_one_channel_and_not_between_channels(tmp_path):
    assert pixels(tmp_path, Image.new("RGB", (40, 30), "red")).contrast == pytest.approx(0, abs=1e-9)
    half = Image.new("RGB", (40, 40), "black")
    half.paste((0, 100, 0), (0, 0, 20, 40))
    assert pixels(tmp_path, half).contrast == pytest.approx(50)


def test_the_hash_is_of_neighbours_brightness(tmp_path):
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 90, dtype=np.uint8), (80, 1)))
    assert pixels(tmp_path, ramp).hash == 2**64 - 1
    assert pixels(tmp_path, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).hash == 0
    top = ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    top.paste(ramp.crop((0, 0, 90, 10)), (0, 0))
    assert pixels(tmp_path, top).hash >> 56 == 0xFF


def test_bytes_and_digest_of_a_broken_file_are_known(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"abc")
    facts = measure(tmp_path, "a.jpg")
    assert facts.size == 3
    assert facts.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert facts.header is None
    assert facts.pixels is None
    assert "not an image" in facts.error


def test_a_folder_with_an_images_name_is_a_broken_file(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    assert measure(tmp_path, "a.jpg").error == "Is a directory"


def test_a_small_copy_is_a_picture_of_the_file(tmp_path, photo):
    photo(1, (640, 320)).save(tmp_path / "a.png")
    small = open_image(small_copy(tmp_path, "a.png"))
    assert small.size == (128, 64)
    difference = np.asarray(small, dtype=float) - np.asarray(photo(1, (640, 320)).resize((128, 64)), dtype=float)
    assert np.abs(difference).mean() < 12


def test_without_lightly_utils_everything_is_measured_the_same(tmp_path, photo, monkeypatch):
    pytest.importorskip("lightly_utils")
    assert lightly.Metadata is not None
    images = [photo(1, (300, 200)), photo(2, (20, 30)), Image.new("RGB", (9, 9), "red")]
    with_it = [(pixels(tmp_path, image), small_copy(tmp_path, "a.png")) for image in images]
    monkeypatch.setattr(lightly, "Metadata", None)
    monkeypatch.setattr(lightly, "Thumbnail", None)
    for image, (measured, small) in zip(images, with_it, strict=True):
        own = pixels(tmp_path, image)
        assert own.contrast == pytest.approx(measured.contrast, rel=1e-9)
        assert own.signal_to_noise == pytest.approx(measured.signal_to_noise, rel=1e-9)
        assert own[:5] == measured[:5]
        assert small_copy(tmp_path, "a.png") == small


def test_no_time_is_spent_on_encoding(photo, monkeypatch):
    small = lightly.thumbnail(photo(1))

    def encode(*_, **__):
        raise AssertionError("encoded")

    monkeypatch.setattr(Image.Image, "save", encode)
    assert lightly.look(small).contrast > 10
