"""TIFF and BigTIFF, decoded here: every strip and tile must give exactly its pixels.

OpenCV is not asked: for damaged and unusual files it returns pixels that are wrong, or
memory that nobody wrote, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import jpeg
from qlvit_edge.imagefile.limits import REPLACE
from qlvit_edge.imagefile.stored import BAND, Header, Stored, look_up, upright
from qlvit_edge.imagefile.tiff_codecs import JPEG, NAMES, RAW, DamagedError, unpacker
from qlvit_edge.imagefile.tiff_layout import (
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    read_layout,
)

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_BLOCK = 16  # pixels that some writers fill the last strip up to
_ALIGNED = 4  # bytes to a multiple of which some writers fill uncompressed strips up


def read_header(content: bytes, name: str) -> Header:
    """Read the tags of the one page.

    Raises:
        DataError: several pages, too large, or of a kind that is not read.
    """
    layout = read_layout(content, name)
    return Header("TIFF", layout.width, layout.height, layout.orientation)


def read(content: bytes, name: str) -> Stored:
    """Decode a TIFF of one page.

    Raises:
        DataError: truncated, damaged, too large, of several pages, or of a kind that is not
            read or not without the extra.
    """
    layout = read_layout(content, name)
    kind = np.uint8 if layout.bits <= 8 else np.uint16
    pixels = np.empty((layout.height, layout.width, layout.samples), kind)
    for target, part in _parts(content, layout, pixels, name):
        target[...] = part
    notes = [layout.note] if layout.note else []
    if layout.photometric == PALETTE:
        notes.append("palette")
        result = _coloured(pixels[:, :, 0], layout)
    else:
        if layout.bits not in (8, 16):
            notes.append(f"{layout.bits} bit")
            pixels = _in_eight_bits(pixels, layout.bits)
        if layout.photometric == WHITE_IS_ZERO:
            grey = pixels[:, :, 0]
            np.subtract(np.iinfo(pixels.dtype).max, grey, out=grey)
        if layout.alpha == 1:
            notes.append("alpha")
        result = _in_order(pixels, layout)
    return Stored(upright(result, layout.orientation), tuple(notes))


def _parts(
    content: bytes, layout: Layout, pixels: NDArray[Any], name: str
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Give each strip or tile with the part of ``pixels`` that it fills."""
    method = NAMES.get(layout.compression, "raw")
    size = layout.height * layout.row_bytes(layout.width)
    unpack = None
    if layout.compression != JPEG:
        unpack = unpacker(layout.compression, name, size * (layout.samples // layout.channels))
    across, down = layout.tile
    rows, columns = layout.grid
    view = memoryview(content)
    for index in range(rows * columns * (layout.samples // layout.channels)):
        plane, place = divmod(index, rows * columns)
        top, left = place // columns * down, place % columns * across
        planes = slice(plane, plane + 1) if layout.planar else slice(None)
        target = pixels[top : top + down, left : left + across, planes]
        high = down if layout.tiled else target.shape[0]
        start = layout.offsets[index]
        data = view[start : start + layout.counts[index]]
        try:
            if len(data) < layout.counts[index]:
                raise DamagedError("it is cut")
            if unpack is None:
                part = _jpeg_part(bytes(data), layout, name)
            else:
                part = _unpacked_part(unpack, bytes(data), layout, high)
        except DamagedError as error:
            finding = f"TIFF is damaged: strip or tile {index + 1} ({method}): {error}"
            raise DataError(name, finding, REPLACE) from error
        if part.shape[0] < target.shape[0] or part.shape[1] < target.shape[1]:
            raise DataError(name, f"TIFF strip or tile {index + 1} is too small", REPLACE)
        yield target, part[: target.shape[0], : target.shape[1]]


def _unpacked_part(unpack: Any, data: bytes, layout: Layout, high: int) -> NDArray[Any]:
    """Return the pixels of a strip or tile as (rows, columns, channels)."""
    if layout.reversed_bits:
        data = data.translate(_REVERSED)
    row = layout.row_bytes(layout.tile[0])
    padded = layout.tile[1] * row  # some writers store the last strip in full length
    if layout.compression == RAW and 0 < len(data) - high * row < _ALIGNED:
        data = data[: high * row]
    made = unpack(data, padded + 1)
    if isinstance(made, np.ndarray):
        return _picture(made, layout, high)
    if len(made) not in (high * row, padded):
        raise DamagedError(f"{len(made)} bytes for {high * row}")
    raw = np.frombuffer(made, np.uint8, high * row).reshape(high, row)
    if layout.bits in (8, 16):
        kind = np.dtype(np.uint8 if layout.bits == 8 else f"{layout.order}u2")
        samples = raw.view(kind).reshape(high, layout.tile[0], layout.channels)
        return _undifferenced(samples) if layout.differenced else samples
    return _unpacked_bits(raw, layout)


def _picture(made: NDArray[Any], layout: Layout, high: int) -> NDArray[Any]:
    """Check a picture that a method stores as such."""
    samples = made.reshape(*made.shape[:2], -1) if made.ndim in (2, 3) else made
    right = samples.ndim == 3 and samples.shape[0] in (high, layout.tile[1])
    right = right and samples.shape[1:] == (layout.tile[0], layout.channels)
    if not right or samples.dtype != np.dtype(np.uint8 if layout.bits <= 8 else np.uint16):
        raise DamagedError(f"it holds {made.shape} {made.dtype}")
    if int(samples.max()) >= 1 << layout.bits:
        raise DamagedError(f"it holds values of more than {layout.bits} bits")
    return samples


def _undifferenced(samples: NDArray[Any]) -> NDArray[Any]:
    """Add the differences up along each row, wrapping as they were taken."""
    result = samples.astype(samples.dtype.newbyteorder("="))
    step = max(1, BAND // (result.shape[1] * result.shape[2]))
    for top in range(0, len(result), step):
        band = result[top : top + step]
        np.add.accumulate(band, axis=1, out=band)
    return result


def _unpacked_bits(raw: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint16]:
    """Cut rows of packed samples of 1 to 15 bits into (rows, columns, channels)."""
    wide = layout.tile[0] * layout.channels
    result = np.zeros((len(raw), wide), np.uint16)
    step = max(1, BAND // wide)
    for top in range(0, len(raw), step):
        ones = np.unpackbits(raw[top : top + step], axis=1)[:, : wide * layout.bits]
        ones = ones.reshape(len(ones), wide, layout.bits)
        band = result[top : top + step]
        for bit in range(layout.bits):
            band |= ones[:, :, bit].astype(np.uint16) << (layout.bits - 1 - bit)
    return result.reshape(len(raw), layout.tile[0], layout.channels)


def _jpeg_part(data: bytes, layout: Layout, name: str) -> NDArray[Any]:
    """Decode a strip or tile that is a JPEG, joined to the page's tables."""
    if data[:2] != jpeg.MAGIC:
        raise DamagedError("it does not begin as a JPEG")
    tables = layout.jpeg_tables
    joined = jpeg.MAGIC + (tables[2:-2] if tables else b"") + data[2:]
    header = jpeg.read_header(joined, name)
    if header.width > layout.tile[0] + _BLOCK or header.height > layout.tile[1] + _BLOCK:
        raise DamagedError(f"it claims {header.width}x{header.height} pixels")
    transform = {YCBCR: 1, RGB: 0}.get(layout.photometric)
    pixels = jpeg.pixels_of(joined, name, transform)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.shape[2] != layout.channels:
        raise DamagedError(f"it has {pixels.shape[2]} channels")
    return pixels[:, :, ::-1]  # as stored in other TIFFs: red first


def _in_eight_bits(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale declared bits to 8, rounded half up: the one rounding there is."""
    most = (1 << bits) - 1
    levels = (np.arange(most + 1, dtype=np.int64) * 510 + most) // (2 * most)
    return look_up(levels.astype(np.uint8), pixels)


def _coloured(indices: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """Look indices up: (H, W, 3) BGR."""
    colours = np.array(layout.palette, np.int64).reshape(3, -1).T[:, ::-1]
    if colours.max() > 255:  # else the writer filled 8 of the 16 bits
        colours >>= 8  # 8 bits become 16 by times 256 in some writers, by 257 in others
    return look_up(colours.astype(np.uint8), indices)


def _in_order(pixels: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return channels as `Stored` has them: grey, BGR or BGRA."""
    if layout.alpha == 1:
        return _over_white(pixels)
    if layout.samples == 1:
        return pixels[:, :, 0]
    if layout.samples == 2:
        return pixels[:, :, [0, 0, 0, 1]]
    if layout.samples == 3:
        return pixels[:, :, ::-1]
    red = pixels[:, :, 0].copy()
    pixels[:, :, 0] = pixels[:, :, 2]
    pixels[:, :, 2] = red
    return pixels


def _over_white(pixels: NDArray[Any]) -> NDArray[Any]:
    """Lay colours that are multiplied by their alpha over white: (H, W) or (H, W, 3) BGR."""
    white = int(np.iinfo(pixels.dtype).max)
    result = np.empty((*pixels.shape[:2], pixels.shape[2] - 1), pixels.dtype)
    step = max(1, BAND // pixels.shape[1])
    for top in range(0, len(pixels), step):
        band = pixels[top : top + step].astype(np.uint32)
        over = band[:, :, :-1] + (white - band[:, :, -1:])
        result[top : top + step] = np.minimum(over, white)
    return result[:, :, 0] if result.shape[2] == 1 else result[:, :, ::-1]
