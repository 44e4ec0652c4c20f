"""Which way up a stored image is, read so that damage elsewhere in its metadata does not matter.

Enters: an image that Pillow has opened. Leaves: its EXIF orientation, and whether its metadata is damaged. Called by
`images`. A reader of its own, because Pillow's gives up a whole block for one tag that lies behind a cut.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, Final, NamedTuple

from PIL import Image

# Source: EXIF 2.32, tag 0x0112; each value names the operation that turns the stored image upright.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION: Final = 0x0112
_SUB_FOLDERS: Final = (0x8769, 0x8825)  # pointers to the tags of the camera and of the position
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
# Source: TIFF 6.0, section 2: bytes of each field type.
_BYTES_OF_TYPE: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_VALUE_FORMATS: Final = {1: "B", 3: "H", 4: "I"}


class Orientation(NamedTuple):
    """How an image is stored.

    Attributes:
        value: EXIF orientation, 1 to 8; 1 is upright.
        damaged: The EXIF block is cut short or nonsense, or the XMP packet is not UTF-8.
    """

    value: int
    damaged: bool

    @property
    def swaps_sides(self) -> bool:
        """Whether the upright width is the stored height."""
        return self.value >= 5

    def upright(self, image: Image.Image) -> Image.Image:
        """Return the stored image turned upright."""
        operation = _UPRIGHT.get(self.value)
        return image if operation is None else image.transpose(operation)


def orientation_of(image: Image.Image) -> Orientation:
    """Return the orientation that the EXIF block states, else the XMP packet, else upright.

    Args:
        image: From `Image.open`, decoded or not; this decodes nothing.
    """
    if image.format == "TIFF":  # Pillow turns these itself while it decodes, and states the upright size before
        return Orientation(1, False)
    value, damaged = None, False
    block = _exif_block(image)
    if block is not None:
        value, damaged = _read_exif(block)
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, str):
        packet = packet.encode()
    if value is None and (match := _XMP_ORIENTATION.search(packet)):
        value = int(match[1])
    return Orientation(value if value in _UPRIGHT else 1, damaged or not _is_utf8(packet))


def _exif_block(image: Image.Image) -> bytes | None:
    block: bytes | None = image.info.get("exif")
    if block is None and "Raw profile type exif" in image.info:  # ImageMagick's way to keep EXIF in a PNG
        try:
            return bytes.fromhex("".join(str(image.info["Raw profile type exif"]).split("\n")[3:]))
        except ValueError:
            return b""
    file = getattr(image, "fp", None)
    if block is None and image.format == "PNG" and file is not None:
        return _late_png_exif(file)
    return block


def _late_png_exif(file: BinaryIO) -> bytes | None:
    """Return the eXIf chunk of a PNG that has it behind the pixels, where Pillow has not looked yet."""
    place = file.tell()
    try:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if kind == b"eXIf":
                return bytes(file.read(length))
            file.seek(length + 4, 1)
        return None
    finally:
        file.seek(place)


def _read_exif(block: bytes) -> tuple[int | None, bool]:
    """Return the orientation, if it can be read, and whether anything in the block cannot."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None, True
    value, damaged, pointers = _read_folder(block, order, block[4:8])
    for pointer in pointers:
        damaged = _read_folder(block, order, pointer)[1] or damaged
    return value, damaged


def _read_folder(block: bytes, order: str, pointer: bytes) -> tuple[int | None, bool, list[bytes]]:
    """Read as many tags of one folder as there are: the orientation, the damage, pointers to other folders."""
    value, damaged, pointers = None, False, []
    try:
        (start,) = struct.unpack(order + "I", pointer)
        (count,) = struct.unpack_from(order + "H", block, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length, inline = struct.unpack_from(order + "HHI4s", block, place)
            size = length * _BYTES_OF_TYPE.get(kind, 1)
            if size > 4 and struct.unpack(order + "I", inline)[0] + size > len(block):
                damaged = True
            if tag == _ORIENTATION and kind in _VALUE_FORMATS:
                (value,) = struct.unpack_from(order + _VALUE_FORMATS[kind], inline)
            if tag in _SUB_FOLDERS:
                pointers.append(inline)
    except struct.error:  # the block ends here
        damaged = True
    return value, damaged, pointers


def _is_utf8(packet: bytes) -> bool:
    try:
        packet.decode()
    except UnicodeDecodeError:
        return False
    return True
