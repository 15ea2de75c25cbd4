"""Image files as they come: what they claim, whether they are whole, their pixels.

Every format is checked before its pixels are believed: size against the limits, end
markers, checksums, the length of every part. JPEG and PNG are then decoded by OpenCV,
whose complaints are read; BMP and TIFF are decoded here, because OpenCV returns pixels for
damaged and unusual ones without a word. Turning the pixels into 8-bit RGB is left to
`qlvit_edge.preprocess`.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import bmp, jpeg, png, tiff
from qlvit_edge.imagefile.limits import MAX_BYTES, MAX_PIXELS, REPLACE
from qlvit_edge.imagefile.stored import Header, Stored

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "REPLACE",
    "Header",
    "Stored",
    "read",
    "read_header",
    "read_pixels",
]

_CONVERT = "convert it to PNG or JPEG"
_FOREIGN = {
    kind: re.compile(magic, re.DOTALL)
    for kind, magic in (
        ("WebP", rb"RIFF....WEBP"),
        ("GIF", rb"GIF8[79]a"),
        ("HEIC", rb"....ftyp(hei|hev|mif|msf)"),
        ("AVIF", rb"....ftypavi[fs]"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("JPEG XL", rb"\0\0\0\x0cJXL |\xff\x0a"),
        ("Photoshop", rb"8BPS"),
        ("PNM", rb"P[1-6]\s"),
    )
}


def read(content: bytes, name: str) -> Stored:
    """Decode a whole image file held in memory and turn it upright.

    Args:
        content: the file's bytes.
        name: what to call it in errors.

    Returns:
        Its pixels as stored, and what is worth knowing about them.

    Raises:
        DataError: empty, not one of the four formats, truncated, corrupt, too large, of
            several pages, or of a kind that is not read; the message says which.
    """
    module = _format(content, name)
    try:
        stored: Stored = module.read(content, name)
    except (struct.error, IndexError) as error:
        raise DataError(name, "image file is truncated", REPLACE) from error
    return stored


def read_pixels(content: bytes, name: str) -> NDArray[Any]:
    """Return the pixels alone of what `read` gives.

    Raises:
        DataError: see `read`.
    """
    return read(content, name).pixels


def read_header(content: bytes, name: str) -> Header:
    """Read format, size and orientation, and check that the file is whole.

    Raises:
        DataError: empty, of another format, truncated, or a PNG chunk's checksum is wrong.
    """
    module = _format(content, name)
    try:
        header: Header = module.read_header(content, name)
    except (struct.error, IndexError) as error:
        raise DataError(name, "image file is truncated", REPLACE) from error
    return header


def _format(content: bytes, name: str) -> Any:
    """Return the module that reads what the first bytes announce."""
    if not content:
        raise DataError(name, "the file is empty", REPLACE)
    for magic, module in (
        (jpeg.MAGIC, jpeg),
        (png.MAGIC, png),
        (tiff.MAGICS, tiff),
        (bmp.MAGIC, bmp),
    ):
        if content.startswith(magic):
            return module
    for kind, beginning in _FOREIGN.items():
        if beginning.match(content):
            raise DataError(name, f"is really an image of another format ({kind})", _CONVERT)
    raise DataError(name, "not a JPEG, PNG, BMP or TIFF image", REPLACE)
