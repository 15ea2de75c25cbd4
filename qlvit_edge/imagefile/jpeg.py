"""JPEG: the segments are walked here, a plain copy of them is decoded by libjpeg.

The copy holds what the pixels need and nothing else, so that odd headers, which harm
nothing, draw no complaint, and every complaint of libjpeg is about lost pixels.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import (
    MAX_SCAN_PIXELS,
    REPLACE,
    require_bytes,
    require_parts,
    require_size,
)
from qlvit_edge.imagefile.native import decode_quietly
from qlvit_edge.imagefile.stored import Header, Stored, upright
from qlvit_edge.imagefile.tiff_directory import orientation_in
from qlvit_edge.presence import present

MAGIC = b"\xff\xd8"

# Up to a marker that is neither a stuffed zero nor a restart; possessive, so that the time
# is linear whatever the bytes are.
_NEXT_MARKER = re.compile(
    rb"(?:[^\xff]++|\xff++[\x00\xd0-\xd7])*+(\xff++)([^\x00\xd0-\xd7\xff])", re.DOTALL
)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantisation, restart
_READ = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # frames of 8 bits that libjpeg reads
_PROGRESSIVE = {0xC2, 0xCA}
_SURPLUS = re.compile(rb"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_LOSS = re.compile(rb"Corrupt JPEG|Premature end|Inconsistent progression")
_PADDING = 9  # bytes of any value before the end marker that harm nothing; many mean lost data


@dataclass
class _Frame:
    """What the frame header says: marker, precision, size, sampling by component number."""

    marker: int
    precision: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]


@dataclass
class _Parts:
    """A walked file.

    Attributes:
        kept: the segments the pixels need, in order, without the frame's markers.
        frame: the first frame header, None before it was met.
        scans: (component numbers, first and last coefficient, bits before and after).
        last_scan: coded data of the last scan.
        orientation: from Exif.
        jfif: whether a JFIF segment says that the colours are YCbCr.
        transform: what an Adobe segment says of the colours, None without one.
    """

    kept: list[bytes] = field(default_factory=list)
    frame: _Frame | None = None
    scans: list[tuple[bytes, int, int, int, int]] = field(default_factory=list)
    last_scan: bytes = b""
    orientation: int = 1
    jfif: bool = False
    transform: int | None = None


def read_header(content: bytes, name: str) -> Header:
    """Walk the segments to the end-of-image marker; libjpeg does not miss it.

    Raises:
        DataError: truncated, without a picture, or of a kind that is not read.
    """
    parts = _walk(content, name)
    frame = _checked_frame(parts, name)
    return Header("JPEG", frame.width, frame.height, parts.orientation)


def read(content: bytes, name: str) -> Stored:
    """Decode a JPEG.

    Raises:
        DataError: truncated, corrupt, too large, or of a kind that is not read.
    """
    parts = _walk(content, name)
    return Stored(upright(_decoded(parts, name, None), parts.orientation))


def pixels_of(content: bytes, name: str, transform: int | None) -> NDArray[np.uint8]:
    """Return the pixels of a stream inside a TIFF, whose own tags say how it is turned.

    Args:
        content: the stream joined to its tables.
        name: what to call the file in errors.
        transform: 0 for RGB, 1 for YCbCr, None where the TIFF does not say.

    Returns:
        (H, W) grey or (H, W, 3) BGR.

    Raises:
        DataError: see `read`.
    """
    return _decoded(_walk(content, name), name, transform)


def _decoded(parts: _Parts, name: str, transform: int | None) -> NDArray[np.uint8]:
    """Return a walked file's pixels as coded, (H, W) grey or (H, W, 3) BGR."""
    frame = _checked_frame(parts, name)
    _require_complete(parts, frame, name)
    pixels, complaints = decode_quietly(_plain_copy(parts, transform))
    if pixels is None and frame.marker in (0xC9, 0xCA):
        raise DataError(name, "JPEG with arithmetic coding does not decode", "save it as PNG")
    if pixels is None or pixels.shape[:2] != (frame.height, frame.width):
        raise DataError(name, "JPEG image is truncated or corrupt", REPLACE)
    if _LOSS.search(complaints) and not _is_padding(complaints, parts.last_scan):
        raise DataError(name, "JPEG data is corrupt", REPLACE)
    return pixels


def _walk(content: bytes, name: str) -> _Parts:
    parts, position, met = _Parts(), 2, 0
    while True:
        found = _NEXT_MARKER.match(content, position)
        if found is None:
            raise DataError(name, "JPEG ends before its end-of-image marker", REPLACE)
        marker, position = found.group(2)[0], found.end()
        if marker == 0xD9:
            break
        met += 1
        require_parts(met, name)
        if marker in (0x01, 0xD8):
            continue
        (length,) = struct.unpack_from(">H", content, position)
        body = content[position + 2 : position + length]
        position += max(length, 2)
        if marker == 0xDA:
            following = _NEXT_MARKER.match(content, position)
            end = following.start(1) if following else len(content)
            parts.last_scan = content[position:end]
            _add_scan(parts, body, name)
            position = end
        else:
            _add_segment(parts, marker, body)
    if not parts.scans:
        raise DataError(name, "JPEG holds no image data", REPLACE)
    return parts


def _add_segment(parts: _Parts, marker: int, body: bytes) -> None:
    """Keep a segment that the pixels need, and what the others say about them."""
    if marker in _FRAMES:
        precision, height, width, count = struct.unpack_from(">BHHB", body)
        if parts.frame is None:
            sampling = {body[at]: divmod(body[at + 1], 16) for at in range(6, 6 + 3 * count, 3)}
            parts.frame = _Frame(marker, precision, width, height, sampling)
    elif marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        parts.jfif = True
    elif marker == 0xE1 and body.startswith(b"Exif\0\0") and parts.orientation == 1:
        parts.orientation = orientation_in(body[6:])
    elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        parts.transform = body[11]
    if marker in _FRAMES or marker in _TABLES:
        parts.kept.append(_segment(marker, body))


def _add_scan(parts: _Parts, body: bytes, name: str) -> None:
    count = body[0]
    first, last, bits = struct.unpack_from("BBB", body, 1 + 2 * count)
    parts.scans.append((body[1 : 1 + 2 * count : 2], first, last, *divmod(bits, 16)))
    parts.kept.append(_segment(0xDA, body) + parts.last_scan)
    if parts.frame is None:
        raise DataError(name, "JPEG data comes before its size", REPLACE)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _plain_copy(parts: _Parts, transform: int | None) -> bytes:
    """Return a JPEG of the segments that the pixels need."""
    frame = present(parts.frame, "the size of a JPEG")
    # As libjpeg does: JFIF settles it, else Adobe's word; unknown words stand for YCbCr, which
    # it says in its only complaint.
    said = 1 if parts.jfif else parts.transform
    said = said if transform is None else transform
    head = [MAGIC]
    if said is not None and len(frame.sampling) == 3:
        head.append(_segment(0xEE, b"Adobe\0\x64" + bytes(4) + bytes([said if said < 2 else 1])))
    return b"".join([*head, *parts.kept, b"\xff\xd9"])


def _checked_frame(parts: _Parts, name: str) -> _Frame:
    """Refuse by name what libjpeg cannot read, and what exceeds the limits."""
    frame = present(parts.frame, "the size of a JPEG")
    if frame.marker not in _READ:
        kind = "lossless" if frame.marker in (0xC3, 0xCB) else "hierarchical"
        raise DataError(name, f"is a {kind} JPEG", "save it as PNG or as a common JPEG")
    if frame.precision != 8:
        raise DataError(name, f"is a JPEG of {frame.precision} bits", "save it as PNG")
    if len(frame.sampling) == 4:
        raise DataError(name, "JPEG holds printing colours (CMYK)", "save it as RGB")
    if len(frame.sampling) not in (1, 3):
        raise DataError(name, f"JPEG has {len(frame.sampling)} channels", "save it as RGB")
    if frame.height == 0:
        raise DataError(name, "JPEG says its height only at its end", "save it again")
    require_size("JPEG", frame.width, frame.height, len(frame.sampling), name)
    pixels = frame.width * frame.height
    if len(parts.scans) * pixels > MAX_SCAN_PIXELS:
        raise DataError(
            name,
            f"JPEG draws its {pixels} pixels {len(parts.scans)} times, "
            f"more than {MAX_SCAN_PIXELS // 10**6} million in all",
            "save it as a JPEG that is not progressive",
        )
    if len(parts.scans) > 1:  # all coefficients are held, of 16 bits
        areas = [across * down for across, down in frame.sampling.values()]
        require_bytes(2 * pixels * sum(areas) / max(*areas, 1), "progressive coefficients", name)
    return frame


def _require_complete(parts: _Parts, frame: _Frame, name: str) -> None:
    """Check that the scans give every bit of every coefficient: a cut may end between two."""
    missing = {number: [1] * 64 for number in frame.sampling}
    for numbers, first, last, _, after in parts.scans:
        if frame.marker not in _PROGRESSIVE:
            first, last, after = 0, 63, 0
        for number in numbers:
            if number in missing and last < 64:
                missing[number][first : last + 1] = [after] * (last + 1 - first)
    if any(any(bits) for bits in missing.values()):
        raise DataError(name, "JPEG ends before its last scan", REPLACE)


def _is_padding(complaints: bytes, last_scan: bytes) -> bool:
    """Whether libjpeg complains of nothing but padding after the last scan's pixels.

    It prints its first complaint only, and this one comes after all pixels are decoded.
    """
    found = _SURPLUS.search(complaints)
    if found is None:
        return False
    surplus = int(found.group(1))
    return surplus <= _PADDING or len(set(last_scan[-surplus:])) <= 1
