from __future__ import annotations

import io
import os
import pickle
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms

from sslkit.errors import DataError
from sslkit.images import IMAGE_SUFFIXES, BadImageError, find_images, open_image, read_sample


def picture(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(data):
    image = open_image(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(data):
    with pytest.raises(BadImageError) as caught:
        open_image(data, name="odd.png")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("odd.png: ")
    return caught.value.reason


# Opening: content, damage


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_come_back_exactly(format):
    array = picture()
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(array), format)), array)


def test_the_content_decides_not_the_suffix(tmp_path):
    path = tmp_path / "really_a.jpg"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    np.testing.assert_array_equal(np.asarray(open_image(path)), picture())
    np.testing.assert_array_equal(np.asarray(open_image(str(path))), picture())
    with path.open("rb") as file:
        np.testing.assert_array_equal(np.asarray(open_image(file)), picture())


@pytest.mark.parametrize("share", [0.99, 0.9, 0.5, 0.05, 0])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_files_are_refused(format, share):
    data = encoded(Image.fromarray(picture(64, 64)), format)
    reason(data[: int(len(data) * share)])


def test_what_is_no_image_is_refused(tmp_path):
    assert "not an image" in reason(b"hello")
    # A format that would start another program is not even recognised.
    assert "not an image" in reason(encoded(Image.fromarray(picture()), "EPS"))
    with pytest.raises(BadImageError, match=r"none\.png: no such file"):
        open_image(tmp_path / "none.png")


def test_a_decompression_bomb_is_refused():
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 12_000, 8_000, 8, 2, 0, 0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "pixels" in reason(header + png_chunk(b"IDAT", b""))  # Pillow itself would only warn
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    assert "bomb" in reason(header + png_chunk(b"IDAT", b""))


def png_chunk(kind, body):
    from zlib import crc32

    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))


def test_names_cannot_drive_the_terminal():
    with pytest.raises(BadImageError) as caught:
        open_image(b"", name="a\x1b[31m\nb.png")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_survives_processes():
    error = pickle.loads(pickle.dumps(BadImageError("a.png", "broken")))
    assert (error.path, error.reason, str(error)) == ("a.png", "broken", "a.png: broken")
    assert isinstance(error, DataError)
    # torch's loader raises a worker's exception anew from its message alone.
    assert str(BadImageError("Caught BadImageError in worker 1")) == "Caught BadImageError in worker 1"


# Opening: orientation


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(format, orientation):
    # A light left half; the oracle turns the array by hand, as the EXIF standard words each value.
    array = np.zeros((16, 32), dtype=np.uint8)
    array[:8, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.T,
        6: np.rot90(array, -1),
        7: np.rot90(array, 2).T,
        8: np.rot90(array, 1),
    }[orientation]
    image = open_image(encoded(Image.fromarray(array).convert("RGB"), format, exif=exif))
    assert image.size == (upright.shape[1], upright.shape[0])
    np.testing.assert_array_equal(np.asarray(image)[:, :, 1] > 127, upright > 127)
    assert not image.getexif()  # nobody can turn it a second time


def test_a_damaged_exif_block_leaves_the_image_as_stored():
    for block in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    ):
        data = encoded(Image.fromarray(picture()), "JPEG", exif=block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pixels(data).shape == (20, 30, 3)


# Opening: modes


def test_grey_and_black_and_white():
    grey = picture()[:, :, 0]
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(grey))), np.stack([grey] * 3, axis=-1))
    bits = grey > 127
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(bits))), np.stack([bits * 255] * 3, axis=-1))


def test_transparency_is_laid_over_white():
    array = np.dstack([picture(), np.full((20, 30), 255, np.uint8)])
    array[:10, :, 3] = 0
    array[10:, :15, 3] = 128
    result = pixels(encoded(Image.fromarray(array)))
    assert (result[:10] == 255).all()
    np.testing.assert_array_equal(result[10:, 15:], array[10:, 15:, :3])
    over_white = array[10:, :15, :3] * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(result[10:, :15], over_white, atol=1)

    result = pixels(encoded(Image.fromarray(array[:, :, [0, 3]])))  # LA
    assert (result[:10] == 255).all()
    palette = Image.fromarray(array[:, :, :3]).quantize(4)
    transparent = np.asarray(palette) == 2
    for format in ("PNG", "GIF"):
        result = pixels(encoded(palette, format, transparency=2))
        assert (result[transparent] == 255).all()
        assert (result[~transparent] != 255).any()


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "LAB"])
def test_other_colour_modes_keep_their_colours(mode):
    # Smooth, so that a palette loses little.
    ramp = np.linspace(40, 200, 32, dtype=np.uint8)
    array = np.dstack([np.tile(ramp, (32, 1)), np.tile(ramp[:, None], (1, 32)), np.full((32, 32), 120, np.uint8)])
    image = Image.fromarray(array)
    if mode == "LAB":
        profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.quantize(200) if mode == "P" else image.convert(mode)
    format = "TIFF" if mode != "P" else "PNG"
    difference = np.abs(pixels(encoded(image, format)).astype(int) - array)
    assert difference.mean() < 12


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 128, 129, 257, 32767], [32768, 40_000, 50_000, 65_000, 65_535]], dtype=np.uint16)
    expected = np.rint(values.astype(np.float64) / 257).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        result = pixels(encoded(Image.fromarray(values), format))
        np.testing.assert_array_equal(result, np.stack([expected] * 3, axis=-1))
    wide = Image.fromarray(values.astype(np.int32))
    np.testing.assert_array_equal(pixels(encoded(wide, "TIFF"))[:, :, 0], expected)


def test_numbers_without_an_obvious_scale_are_refused_by_name():
    for value in (-1, 65_536):
        array = np.array([[0, value]], dtype=np.int32)
        assert f"{min(0, value)} to {max(0, value)}" in reason(encoded(Image.fromarray(array), "TIFF"))
    unit = np.array([[0, 0.5, 1]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(unit), "TIFF"))[0, :, 0], [0, 128, 255])
    for value in (1.5, -0.1, np.nan):
        array = np.array([[0, value]], dtype=np.float32)
        assert "float image" in reason(encoded(Image.fromarray(array), "TIFF"))


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format in ("GIF", "TIFF", "WEBP"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        first = pixels(data)[4, 4].astype(int)
        assert first[0] > 200
        assert first[2] < 60


# Finding


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def test_images_are_found_sorted_and_nothing_else(tmp_path):
    touch(tmp_path, "b.PNG", "a/z.jpg", "a-b/x.jpeg", "a/b/c/d.webp", "notes.txt", "jpg", "a/jpg")
    touch(tmp_path, ".hidden.png", ".cache/x.png", "__MACOSX/x.png", "a/Thumbs.db", "a/._z.jpg", "png.d/readme")
    assert find_images(tmp_path) == ["a-b/x.jpeg", "a/b/c/d.webp", "a/z.jpg", "b.PNG"]
    assert {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= IMAGE_SUFFIXES


def test_links_to_folders_are_followed_once(tmp_path):
    root = tmp_path / "root"
    touch(root, "z/x.png", "z/deep/y.png")
    touch(tmp_path, "outside/o.png", "outside/more/p.png")
    (root / "a").symlink_to(root / "z")  # sorts before the folder's own name, and must not take its place
    (root / "z/deep/loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "out_again").symlink_to(tmp_path / "outside/more")
    (tmp_path / "outside/back").symlink_to(root / "z")
    found = find_images(root)
    assert found == ["out/more/p.png", "out/o.png", "z/deep/y.png", "z/x.png"]


def test_a_link_to_nowhere_is_listed_and_fails_when_read(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert find_images(tmp_path) == ["gone.png"]
    with pytest.raises(BadImageError, match="no such file"):
        open_image(tmp_path / "gone.png")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="none: no such folder"):
        find_images(tmp_path / "none")
    touch(tmp_path, "file")
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="names of raw bytes are POSIX only")
def test_a_file_name_that_is_no_text_is_found(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(encoded(Image.fromarray(picture())))
    except OSError:
        pytest.skip("this file system takes text only")
    (name,) = find_images(tmp_path)
    assert open_image(tmp_path / name).size == (30, 20)


# The policy for bad images


class Broken:
    """The images of these positions cannot be read."""

    def __init__(self, length, bad):
        self.length, self.bad, self.asked = length, set(bad), []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked.append(index)
        if index in self.bad:
            raise BadImageError(f"{index}.png", "broken")
        return f"image {index}", index % 7


def test_good_images_pass():
    assert read_sample(Broken(9, []), 8, on_bad_image="replace", key=1) == ("image 8", 1, 8, ())


def test_raise_names_the_image():
    dataset = Broken(9, [3])
    with pytest.raises(BadImageError, match=r"3\.png: broken"):
        read_sample(dataset, 3, on_bad_image="raise", key=1)
    assert dataset.asked == [3]


def test_replacement_follows_from_the_key_alone():
    dataset = Broken(1000, range(0, 1000, 2))
    samples = [read_sample(dataset, 4, on_bad_image="replace", key=key) for key in range(2**64 - 50, 2**64)]
    again = [read_sample(dataset, 4, on_bad_image="replace", key=key) for key in range(2**64 - 50, 2**64)]
    assert [sample[:3] for sample in samples] == [sample[:3] for sample in again]
    assert len({sample.index for sample in samples}) > 40  # spread over the set, not always the neighbour
    for sample in samples:
        assert sample.index % 2 == 1
        assert sample.image == f"image {sample.index}"
        assert sample.label == sample.index % 7
        assert sample.bad[0].path == "4.png"
    assert max(len(sample.bad) for sample in samples) > 2


def test_a_set_of_bad_images_ends_with_the_first_error():
    dataset = Broken(50, range(50))
    with pytest.raises(BadImageError, match=r"^7\.png"):
        read_sample(dataset, 7, on_bad_image="replace", key=5)
    assert len(dataset.asked) == 11


def test_other_errors_are_nobodys_to_replace():
    class Faulty(Broken):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_sample(Faulty(3, []), 0, on_bad_image="replace", key=1)
