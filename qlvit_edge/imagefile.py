"""Image files as they come: what they claim, whether they are whole, their pixels.

OpenCV returns pixels for many damaged files (a JPEG cut in half becomes half grey), so
the container is checked first: size against decompression bombs, end markers, checksums.
Turning the pixels into 8-bit RGB is left to `qlvit_edge.preprocess`.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.quiet import native_stderr_silenced

MAX_BYTES = 512 * 1024 * 1024
"""Larger files are refused unread."""

MAX_PIXELS = 100_000_000
"""Images that claim more pixels are refused before anything is allocated for them."""

REPLACE = "replace or remove the file"

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_TAG = 0x0112
# A marker in entropy-coded data: not a stuffed zero, not a restart marker.
_JPEG_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A few bytes of padding before the end marker harm nothing; many mean lost data.
_JPEG_PADDING = re.compile(rb"Corrupt JPEG data: (\d) extraneous bytes before marker 0xd9")
_LIBRARY_LINE = re.compile(rb"JPEG|libpng|TIFF|OpenCV|imgcodecs|^\[ *[A-Z]+:\d+@\d")


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image file claim.

    Attributes:
        kind: ``"JPEG"``, ``"PNG"``, ``"BMP"`` or ``"TIFF"``.
        width: pixels, before any rotation.
        height: pixels, before any rotation.
        orientation: EXIF orientation, 1 (upright) to 8.
    """

    kind: str
    width: int
    height: int
    orientation: int


def read_pixels(content: bytes, name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a whole image file held in memory and turn it upright.

    Args:
        content: the file's bytes.
        name: what to call it in errors.

    Returns:
        (H, W) grey, (H, W, 3) BGR or (H, W, 4) BGRA; uint8 or uint16 as stored.

    Raises:
        DataError: empty, not one of the four formats, truncated, corrupt, too large, or
            with a pixel type that is not 8- or 16-bit.
    """
    header = read_header(content, name)
    if header.width < 1 or header.height < 1:
        raise DataError(name, f"{header.kind} image without pixels", REPLACE)
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            name,
            f"claims {header.width}x{header.height} pixels",
            f"images have at most {MAX_PIXELS // 1_000_000} million",
        )
    pixels, complaints = _decode_quietly(content)
    if pixels is None:
        raise DataError(name, f"{header.kind} image is truncated or corrupt", REPLACE)
    if b"Corrupt JPEG" in complaints and not _JPEG_PADDING.search(complaints):
        raise DataError(name, "JPEG data is corrupt", REPLACE)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            name, f"pixels are {pixels.dtype}", "save the image with 8 or 16 bits per sample"
        )
    if header.kind != "TIFF":  # OpenCV has turned TIFF images already
        pixels = _upright(pixels, header.orientation)
    return pixels


def read_header(content: bytes, name: str) -> Header:
    """Read format, size and orientation, and check that the file is whole.

    Raises:
        DataError: empty, of another format, truncated, or a PNG chunk's checksum is wrong.
    """
    if not content:
        raise DataError(name, "the file is empty", REPLACE)
    try:
        if content.startswith(b"\xff\xd8"):
            return _read_jpeg(content, name)
        if content.startswith(_PNG_MAGIC):
            return _read_png(content, name)
        if content.startswith((b"II*\0", b"MM\0*")):
            return _read_tiff(content, name)
        if content.startswith(b"BM"):
            return _read_bmp(content)
    except (struct.error, IndexError) as error:
        raise DataError(name, "image file is truncated", REPLACE) from error
    raise DataError(name, "not a JPEG, PNG, BMP or TIFF image", REPLACE)


def _read_jpeg(content: bytes, name: str) -> Header:
    """Walk the segments to the end-of-image marker; OpenCV does not miss it."""
    position, size, orientation, scans = 2, (0, 0), 1, 0
    while True:
        found = _JPEG_NEXT_MARKER.search(content, position)
        if found is None:
            raise DataError(name, "JPEG ends before its end-of-image marker", REPLACE)
        marker, position = found.group(1)[0], found.end()
        if marker == 0xD9:
            break
        if marker in (0x01, 0xD8):
            continue
        (length,) = struct.unpack_from(">H", content, position)
        body = content[position + 2 : position + length]
        if marker in _JPEG_FRAMES:
            size = struct.unpack_from(">HH", body, 1)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        elif marker == 0xDA:
            scans += 1
        position += max(length, 2)
    if scans == 0:
        raise DataError(name, "JPEG holds no image data", REPLACE)
    return Header("JPEG", size[1], size[0], orientation)


def _read_png(content: bytes, name: str) -> Header:
    """Walk the chunks to IEND, checking each one's CRC."""
    position, orientation = len(_PNG_MAGIC), 1
    width, height = struct.unpack_from(">II", content, position + 8)
    view = memoryview(content)
    while True:
        length, kind = struct.unpack_from(">I4s", content, position)
        body = view[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", content, position + 8 + length)
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            part = kind.decode("latin-1")
            raise DataError(name, f"PNG part {part!r} fails its checksum", REPLACE)
        if kind == b"eXIf":
            orientation = _orientation(bytes(body))
        if kind == b"IEND":
            return Header("PNG", width, height, orientation)
        position += 12 + length


def _read_tiff(content: bytes, name: str) -> Header:
    tags = _tiff_tags(content)
    if tags.get(0x0115) == 2:
        # OpenCV would drop the alpha without a word.
        raise DataError(name, "TIFF holds grey and alpha", "save it as PNG, or without alpha")
    return Header("TIFF", tags.get(0x0100, 0), tags.get(0x0101, 0), _orientation(content))


def _read_bmp(content: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", content, 18)
    return Header("BMP", abs(width), abs(height), 1)


def _orientation(tiff: bytes) -> int:
    """Return the orientation in a TIFF structure, 1 where there is none or it is damaged."""
    try:
        value = _tiff_tags(tiff).get(_ORIENTATION_TAG, 1)
    except (struct.error, KeyError):
        return 1
    return value if 1 <= value <= 8 else 1


def _tiff_tags(tiff: bytes) -> dict[int, int]:
    """Return the tags of the first directory that hold a number in place."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (offset,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    tags: dict[int, int] = {}
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if kind in (3, 4):  # SHORT, LONG
            (tags[tag],) = struct.unpack_from(order + "HI"[kind - 3], tiff, entry + 8)
    return tags


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _decode_quietly(content: bytes) -> tuple[NDArray[Any] | None, bytes]:
    """Decode with OpenCV; return the pixels (None: it cannot) and what its libraries printed.

    libjpeg and libpng write their complaints to file descriptor 2, where they would spoil
    a progress bar, and libjpeg's are the only sign of data lost inside a JPEG. What other
    threads print meanwhile is passed on.
    """
    encoded = np.frombuffer(content, dtype=np.uint8)
    with native_stderr_silenced() as capture:
        try:
            pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        except (cv2.error, MemoryError):
            pixels = None
        capture.seek(0)
        printed = capture.read()
    lines = printed.splitlines(keepends=True)
    ours = [line for line in lines if _LIBRARY_LINE.search(line)]
    if len(ours) < len(lines):
        # The libraries' own blank lines go with them; what others print is left whole.
        others = [line for line in lines if line not in ours and (line.strip() or not ours)]
        os.write(2, b"".join(others))
    return pixels, b"".join(ours)
