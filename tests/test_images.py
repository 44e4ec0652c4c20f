from __future__ import annotations

import io
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile

from sslkit.errors import DataError
from sslkit.images import (
    BadImageError,
    NoReplacementError,
    has_damaged_metadata,
    image_size,
    open_image,
    read_sample,
)
from sslkit.pixels import to_rgb


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
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_switches_of_other_libraries_change_nothing(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for format in ("JPEG", "PNG", "TIFF", "BMP", "WEBP"):
        data = encoded(Image.fromarray(picture(64, 64)), format)
        reason(data[: len(data) * 9 // 10])
    header = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    assert "bomb" in reason(header + png_chunk(b"IDAT", b""))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # theirs again
    assert Image.MAX_IMAGE_PIXELS is None


def test_threads_that_read_at_the_same_time_all_stay_strict(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    whole = encoded(Image.fromarray(picture(300, 300)), "JPEG")

    def refused(cut):
        try:
            open_image(whole[:-cut])
        except BadImageError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(1000, 1200)))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


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
    assert image_size(encoded(Image.fromarray(array).convert("RGB"), format, exif=exif)) == image.size


def camera_exif():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A maker of cameras"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.DateTime] = "2020:01:01 00:00:00"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:01 00:00:00"
    return exif.tobytes()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_cut_short_keeps_what_can_be_read(format):
    block = camera_exif()
    image = Image.fromarray(picture())
    upright_from = 6 + 8 + 2 + 2 * 12  # prefix, header, count, and the first two tags, of which the second tells
    for length in range(7, len(block)):
        data = encoded(image, format, exif=block[:length])
        opened = open_image(data)
        assert opened.size == ((20, 30) if length >= upright_from else (30, 20)), length
        assert image_size(data) == opened.size
        assert has_damaged_metadata(opened), length
    whole = open_image(encoded(image, format, exif=block))
    assert whole.size == (20, 30)
    assert not has_damaged_metadata(whole)


def test_an_exif_block_of_nonsense_loses_nothing():
    rng = np.random.default_rng(0)
    blocks = [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"]
    for _ in range(100):
        block = bytearray(camera_exif())
        for place in rng.integers(6, len(block), 4):
            block[place] = rng.integers(0, 256)
        blocks.append(bytes(block))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # as at import; pytest resets it
        for block in blocks:
            data = encoded(Image.fromarray(picture()), "JPEG", exif=block)
            assert open_image(data).size == image_size(data)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG"])
def test_an_xmp_packet_that_is_not_utf8_keeps_image_and_orientation(format):
    packet = b'<rdf:Description tiff:Orientation="6" dc:title="caf\xe9"/>'
    image = Image.fromarray(picture())
    if format == "PNG":
        data = encoded(image)
        data = data[:33] + png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet) + data[33:]
    else:
        data = encoded(image, format, xmp=packet)
    opened = open_image(data)
    assert opened.size == image_size(data) == (20, 30)
    assert has_damaged_metadata(opened)
    with_exif = encoded(image, "JPEG", xmp=packet.replace(b"6", b"3"), exif=camera_exif())
    assert open_image(with_exif).size == (20, 30)  # the EXIF block decides


def test_an_exif_chunk_behind_the_pixels_of_a_png_counts():
    data = encoded(Image.fromarray(picture()))
    data = data[:-12] + png_chunk(b"eXIf", camera_exif()[6:]) + data[-12:]
    assert open_image(data).size == image_size(data) == (20, 30)


def test_the_size_is_known_without_decoding(tmp_path):
    data = encoded(Image.fromarray(picture(64, 48)), "JPEG", exif=camera_exif())
    assert image_size(data[: len(data) * 3 // 4]) == (64, 48)
    with pytest.raises(BadImageError, match=r"none\.png: no such file"):
        image_size(tmp_path / "none.png")


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


def test_palettes_with_an_alpha_of_their_own_are_laid_over_white():
    palette = Image.new("P", (30, 20), 1)
    palette.putpalette([255, 0, 0, 255, 0, 0, 255, 0], "RGBA")
    assert (pixels(encoded(palette, "PNG", transparency=bytes([255, 0]))) == 255).all()


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "RGBX", "HSV", "I;16B", "I;16L"])
def test_modes_that_files_seldom_have_are_converted_too(mode):
    plain = Image.fromarray(np.full((4, 4), 100, np.uint8))
    if mode.startswith("I;16"):
        image = Image.frombytes(mode, (4, 4), np.full((4, 4), 25_700, ">u2" if mode == "I;16B" else "<u2").tobytes())
    elif mode == "La":
        image = plain.convert("LA").convert("La")
    elif mode == "RGBa":
        image = plain.convert("RGBA").convert("RGBa")
    elif mode == "PA":
        image = plain.convert("P").convert("PA")
    else:
        image = plain.convert("RGB").convert(mode)
    result = to_rgb(image)
    assert result.mode == "RGB"
    assert np.abs(np.asarray(result).astype(int) - 100).max() <= 3


def test_a_cmyk_jpeg_as_adobe_writes_it_is_not_a_negative():
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data
    red = pixels(data)[8, 8].astype(int)
    assert red[0] > 240
    assert red[1:].max() < 15


def png_of(values, **chunks):
    """Encode uint16 [H, W, C], C = 1, 2, 3 or 4, which Pillow cannot save in colour."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    more = b"".join(png_chunk(name.encode(), body) for name, body in chunks.items())
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def tiff_of(values, order="<", *, photometric=None, sample_format=1, planar=1, deflate=False):
    """Encode [H, W, C]; the tags are given as a TIFF file states them."""
    height, width, channels = values.shape
    bits = values.dtype.itemsize * 8
    body = values if planar == 1 else values.transpose(2, 0, 1)
    body = body.astype(values.dtype.newbyteorder(order)).tobytes()
    if deflate:
        body = zlib.compress(body)
    plane = len(body) // (channels if planar == 2 else 1)
    planes = len(body) // plane
    tags = {
        256: [width],
        257: [height],
        258: [bits] * channels,
        259: [8 if deflate else 1],
        262: [photometric if photometric is not None else (1 if channels == 1 else 2)],
        273: [8 + number * plane for number in range(planes)],
        277: [channels],
        278: [height],
        279: [plane] * planes,
        284: [planar],
        339: [sample_format] * channels,
    }
    start = 8 + len(body)
    end = start + 2 + 12 * len(tags) + 4
    folder, far = struct.pack(order + "H", len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        folder += struct.pack(order + "HHI", tag, 4, len(numbers))
        if len(packed) > 4:
            folder += struct.pack(order + "I", end + len(far))
            far += packed
        else:
            folder += packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + body + folder + bytes(4) + far


def scaled(values, full):
    return np.floor(values.astype(np.float64) * 255 / full + 0.5)


def three(grey):
    return np.stack([grey] * 3, axis=-1)


DEEP = np.random.default_rng(1).integers(0, 65_536, (20, 30, 4), dtype=np.uint16)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    values = np.array([[0, 128, 129, 257, 32767], [32768, 40_000, 50_000, 65_000, 65_535]], dtype=np.uint16)
    expected = np.rint(values.astype(np.float64) / 257).astype(np.uint8)
    for format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(pixels(encoded(Image.fromarray(values), format)), three(expected))
    np.testing.assert_array_equal(pixels(tiff_of(values[..., None], ">")), three(expected))
    wide = Image.fromarray(values.astype(np.int32))
    np.testing.assert_array_equal(pixels(encoded(wide, "TIFF"))[:, :, 0], expected)


def test_classes_that_differ_only_in_the_upper_half_of_sixteen_bits_stay_apart():
    rng = np.random.default_rng(0)
    for low, high in ((33_000, 42_000), (50_000, 59_000)):
        values = rng.integers(low, high, (20, 30), dtype=np.uint16)
        result = pixels(encoded(Image.fromarray(values), "TIFF"))
        assert abs(result.mean() - values.mean() / 257) < 1
        assert result.std() > 5


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_data_of_fewer_bits_in_sixteen_are_as_bright_as_they_were(bits):
    full = 2**bits - 1
    values = DEEP >> (16 - bits)
    values[0, 0] = full
    expected = scaled(values, full)
    for data in (tiff_of(values[..., :1]), tiff_of(values[..., :1], ">"), png_of(values[..., :1])):
        np.testing.assert_array_equal(pixels(data), three(expected[..., 0]))
    colour = values[..., :3]
    compressed = [tiff_of(colour, order, deflate=True) for order in "<>"]  # these libtiff decodes
    for data in (tiff_of(colour), tiff_of(colour, ">"), *compressed, png_of(colour)):
        np.testing.assert_array_equal(pixels(data), expected[..., :3])
    opaque = np.full((20, 30, 1), 65_535, dtype=np.uint16)
    data = png_of(np.dstack([values[..., :3], opaque]))
    np.testing.assert_array_equal(pixels(data), expected[..., :3])
    data = png_of(np.dstack([values[..., :1], opaque]))
    np.testing.assert_array_equal(pixels(data), three(expected[..., 0]))
    compressed = encoded(Image.fromarray(values[..., 0]), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(pixels(compressed), three(expected[..., 0]))


def test_sixteen_bit_colour_is_read_from_paths_and_open_files_too(tmp_path):
    for number, data in enumerate(
        (png_of(DEEP[..., :3]), tiff_of(DEEP[..., :3]), tiff_of(DEEP[..., :3], deflate=True))
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        np.testing.assert_array_equal(pixels(path), scaled(DEEP[..., :3], 65_535))
        for file in (path.open("rb"), io.BytesIO(data)):
            with file:
                np.testing.assert_array_equal(pixels(file), scaled(DEEP[..., :3], 65_535))


def test_a_stated_maximum_tells_the_depth_of_a_dark_image():
    dark = np.array([[0, 100, 900]], dtype=np.uint16)
    assert pixels(encoded(Image.fromarray(dark), "TIFF"))[0, 2, 0] == 224  # taken for 10 bits
    for stated, full in ((4095, 4095), (3000, 4095), (65_535, 65_535)):
        data = encoded(Image.fromarray(dark), "TIFF", tiffinfo={281: stated})
        np.testing.assert_array_equal(pixels(data)[..., 0], scaled(dark, full))
    # A portable grey map states its maximum always.
    np.testing.assert_array_equal(
        pixels(b"P5 3 1 65535\n" + dark.astype(">u2").tobytes())[..., 0], scaled(dark, 65_535)
    )
    assert pixels(b"P5 3 1 1023\n" + dark.astype(">u2").tobytes())[0, 2, 0] == 224


def test_transparency_of_sixteen_bit_images_is_laid_over_white():
    values = DEEP.copy()
    values[0, 0] = 300, 301, 302, 0
    grey = pixels(png_of(values[..., :1], tRNS=struct.pack(">H", 300)))
    np.testing.assert_array_equal(
        grey == 255, three(values[..., 0] == 300) | (scaled(three(values[..., 0]), 65_535) == 255)
    )
    colour = pixels(png_of(values[..., :3], tRNS=struct.pack(">HHH", 300, 301, 302)))
    assert (colour[0, 0] == 255).all()
    np.testing.assert_array_equal(colour[1:], scaled(values[1:, :, :3], 65_535))
    values[..., 3] = 0
    assert (pixels(png_of(values)) == 255).all()


def test_grey_whose_zero_is_white_is_no_negative():
    ramp = np.linspace(0, 65_535, 600).astype(np.uint16).reshape(20, 30, 1)
    np.testing.assert_array_equal(pixels(tiff_of(ramp, photometric=0))[..., 0], 255 - scaled(ramp[..., 0], 65_535))
    unit = (ramp / 65_535).astype(np.float32)
    np.testing.assert_array_equal(
        pixels(tiff_of(unit, photometric=0, sample_format=3))[..., 0], 255 - np.rint(unit[..., 0] * 255)
    )
    eight = (ramp >> 8).astype(np.uint8)
    np.testing.assert_array_equal(pixels(tiff_of(eight, photometric=0))[..., 0], 255 - eight[..., 0])


def test_what_pillow_would_decode_wrongly_is_refused():
    assert "separate planes" in reason(tiff_of(DEEP[..., :3], planar=2))
    assert "signed 8-bit" in reason(tiff_of(np.full((4, 4, 1), -3, dtype=np.int8), sample_format=2))
    plain = picture()
    np.testing.assert_array_equal(pixels(tiff_of(plain, planar=2)), plain)


def test_numbers_without_an_obvious_scale_are_refused_by_name():
    for value in (-1, 65_536):
        array = np.array([[0, value]], dtype=np.int32)
        text = reason(encoded(Image.fromarray(array), "TIFF"))
        assert f"{min(0, value)} to {max(0, value)}" in text
        assert "save it as 8 or 16 bits" in text
    unit = np.array([[0, 0.5, 1]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(encoded(Image.fromarray(unit), "TIFF"))[0, :, 0], [0, 128, 255])
    for value in (1.5, -0.1, np.nan):
        array = np.array([[0, value]], dtype=np.float32)
        assert "float image" in reason(encoded(Image.fromarray(array), "TIFF"))
    assert "pixel type" in reason(tiff_of(np.zeros((4, 4, 1)), sample_format=3))  # 64 bits


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format in ("GIF", "TIFF", "WEBP"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        first = pixels(data)[4, 4].astype(int)
        assert first[0] > 200
        assert first[2] < 60


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
    with pytest.raises(NoReplacementError, match=r"^7\.png: broken; nor can 10 others") as caught:
        read_sample(dataset, 7, on_bad_image="replace", key=5)
    assert [int(bad.path.partition(".")[0]) for bad in caught.value.bad] == dataset.asked
    assert len(dataset.asked) == 11


def test_other_errors_are_nobodys_to_replace():
    class Faulty(Broken):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_sample(Faulty(3, []), 0, on_bad_image="replace", key=1)


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "TIFF", "WEBP"])
def test_nothing_but_pixels_is_left(format):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    image = open_image(encoded(Image.fromarray(picture()), format, exif=exif))
    assert image.info == {}
    assert dict(image.getexif()) == {}
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(image))), np.asarray(image))
    assert open_image(encoded(image, "JPEG")).size == image.size
