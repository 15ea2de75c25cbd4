"""PNG: checksums of every chunk and of the compressed data, and the length of the latter."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import REPLACE, require_bytes, require_parts, require_size
from qlvit_edge.imagefile.native import decode_quietly
from qlvit_edge.imagefile.stored import Header, Stored, look_up, upright
from qlvit_edge.imagefile.tiff_directory import orientation_in

MAGIC = b"\x89PNG\r\n\x1a\n"

# Colour type → (channels, bit depths).
_KINDS = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
# Adam7: first column, first row, step across, step down of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_STEP = 1 << 20  # bytes inflated at a time


@dataclass
class _Parts:
    """A walked file: the header's fields, and where the coded pixels lie."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool
    data: list[memoryview] = field(default_factory=list)
    palette: bytes = b""
    see_through: bytes = b""
    pictures: int = 1
    orientation: int = 1

    @property
    def channels(self) -> int:
        """Channels as coded."""
        return _KINDS[self.colour][0]

    @property
    def stored_bytes(self) -> int:
        """Bytes of one pixel as `read` returns it."""
        alpha = bool(self.see_through) or self.colour in (4, 6)
        coloured = self.colour in (2, 3, 6)
        return (4 if alpha else 3 if coloured else 1) * (2 if self.bits == 16 else 1)


def read_header(content: bytes, name: str) -> Header:
    """Walk the chunks to IEND, checking each one's CRC.

    Raises:
        DataError: truncated, a chunk fails its checksum, or of a kind that PNG has not.
    """
    parts = _walk(content, name)
    return Header("PNG", parts.width, parts.height, parts.orientation)


def read(content: bytes, name: str) -> Stored:
    """Decode a PNG.

    Raises:
        DataError: truncated, corrupt, too large, or animated.
    """
    parts = _walk(content, name)
    require_size("PNG", parts.width, parts.height, parts.stored_bytes, name)
    if parts.pictures > 1:
        raise DataError(
            name, f"PNG is animated: {parts.pictures} pictures", "save one of them as its own file"
        )
    _require_whole(parts, name)
    # Read as grey, the same rows are the palette's indices, which OpenCV does not check.
    pixels, _ = decode_quietly(_as_grey(parts) if parts.colour == 3 else content)
    if pixels is None or pixels.shape[:2] != (parts.height, parts.width):
        raise DataError(name, "PNG image is truncated or corrupt", REPLACE)
    notes: tuple[str, ...] = ()
    if parts.colour == 3:
        pixels, notes = _coloured(pixels, parts, name), ("palette",)
    elif parts.colour == 0 and parts.see_through:
        pixels = _without_one_grey(pixels, parts)
    return Stored(upright(pixels, parts.orientation), notes)


def _as_grey(parts: _Parts) -> bytes:
    """Return the file with its palette left out: the indices are taken for greys."""
    head = struct.pack(
        ">IIBBBBB", parts.width, parts.height, parts.bits, 0, 0, 0, int(parts.interlaced)
    )
    chunks = [(b"IHDR", head), (b"IDAT", b"".join(parts.data)), (b"IEND", b"")]
    made = [MAGIC]
    for kind, body in chunks:
        made += [struct.pack(">I4s", len(body), kind), body]
        made.append(struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))
    return b"".join(made)


def _coloured(greys: NDArray[Any], parts: _Parts, name: str) -> NDArray[np.uint8]:
    """Look the indices up in the palette: (H, W, 3) BGR, or BGRA where it has alpha."""
    colours = np.frombuffer(parts.palette, np.uint8).reshape(-1, 3)[:, ::-1]
    if parts.see_through:
        alpha = np.full((len(colours), 1), 255, np.uint8)
        given = np.frombuffer(parts.see_through, np.uint8)[: len(colours)]
        alpha[: len(given), 0] = given
        colours = np.hstack([colours, alpha])
    step = 255 // ((1 << parts.bits) - 1)
    table = np.zeros((256, colours.shape[1]), np.uint8)
    table[: len(colours) * step : step] = colours[: 255 // step + 1]
    if int(greys.max()) // step >= len(colours):
        raise DataError(name, "PNG uses colours that its palette lacks", REPLACE)
    return look_up(table, greys)


def _without_one_grey(greys: NDArray[Any], parts: _Parts) -> NDArray[Any]:
    """Make the one grey that tRNS names see-through: (H, W, 4)."""
    (named,) = struct.unpack_from(">H", parts.see_through)
    if parts.bits < 8:
        named = named * 255 // ((1 << parts.bits) - 1)
    result = np.empty((*greys.shape, 4), greys.dtype)
    result[..., :3] = greys[..., np.newaxis]
    result[..., 3] = np.where(greys == named, 0, np.iinfo(greys.dtype).max)
    return result


def _walk(content: bytes, name: str) -> _Parts:
    parts = None
    for kind, body in _chunks(content, name):
        if parts is None:
            if kind != b"IHDR":
                raise DataError(name, "PNG does not begin with its header", REPLACE)
            parts = _header(body, name)
        elif kind == b"IDAT":
            parts.data.append(body)
        elif kind in (b"PLTE", b"tRNS") and _is_misplaced(kind, parts):
            raise DataError(name, f"PNG part {kind.decode()!r} is out of place", REPLACE)
        elif kind == b"PLTE":
            parts.palette = bytes(body[: len(body) // 3 * 3])
        elif kind == b"tRNS":
            parts.see_through = bytes(body)
        elif kind == b"acTL":
            (parts.pictures,) = struct.unpack_from(">I", body)
        elif kind == b"eXIf":
            parts.orientation = orientation_in(bytes(body))
    if parts is None or not parts.data:
        raise DataError(name, "PNG holds no image data", REPLACE)
    if parts.colour == 3 and not parts.palette:
        raise DataError(name, "PNG lacks its palette", REPLACE)
    return parts


def _is_misplaced(kind: bytes, parts: _Parts) -> bool:
    """Whether the palette or what is see-through comes twice, too late or too early.

    Programs disagree on which one then counts.
    """
    if parts.data or parts.see_through or (kind == b"PLTE" and parts.palette):
        return True
    return kind == b"tRNS" and parts.colour == 3 and not parts.palette


def _chunks(content: bytes, name: str) -> Iterator[tuple[bytes, memoryview]]:
    """Give (kind, body) of every chunk up to and with IEND."""
    view, position, met = memoryview(content), len(MAGIC), 0
    while True:
        met += 1
        require_parts(met, name)
        length, kind = struct.unpack_from(">I4s", content, position)
        body = view[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", content, position + 8 + length)
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            part = kind.decode("latin-1")
            raise DataError(name, f"PNG part {part!r} fails its checksum", REPLACE)
        yield kind, body
        if kind == b"IEND":
            return
        position += 12 + length


def _header(body: memoryview, name: str) -> _Parts:
    width, height, bits, colour, method, filtering, interlace = struct.unpack_from(">IIBBBBB", body)
    if bits not in _KINDS.get(colour, (0, ()))[1] or method or filtering or interlace > 1:
        raise DataError(name, "PNG header is damaged", REPLACE)
    return _Parts(width, height, bits, colour, interlace == 1)


def _rows(parts: _Parts) -> Iterator[tuple[int, int]]:
    """Give (rows, bytes of a row with its filter byte) of every pass that has pixels."""
    for left, top, across, down in _PASSES if parts.interlaced else ((0, 0, 1, 1),):
        wide = max(0, -(-(parts.width - left) // across))
        high = max(0, -(-(parts.height - top) // down))
        if wide and high:
            yield high, 1 + (wide * parts.channels * parts.bits + 7) // 8


def _require_whole(parts: _Parts, name: str) -> None:
    """Inflate the data without keeping it: its length and its own checksum must be right."""
    expected = sum(high * row for high, row in _rows(parts))
    require_bytes(expected, "rows", name)
    inflater, length, index = zlib.decompressobj(), 0, 0
    waiting: bytes | memoryview = b""
    try:
        while not inflater.eof and length <= expected:
            if not waiting and index < len(parts.data):
                waiting, index = parts.data[index], index + 1
            given = len(waiting)
            made = inflater.decompress(waiting, _STEP)
            waiting = inflater.unconsumed_tail
            length += len(made)
            if not made and not waiting and not given and index == len(parts.data):
                break
    except zlib.error as error:
        raise DataError(name, f"PNG data is corrupt ({error})", REPLACE) from error
    if length > expected:
        raise DataError(name, "PNG holds more data than its size needs", REPLACE)
    if length < expected or not inflater.eof:
        raise DataError(name, "PNG image is truncated or corrupt", REPLACE)
