"""BMP without compression, decoded here: masks, palettes, rows up and down."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import REPLACE, require_size
from qlvit_edge.imagefile.stored import BAND, Header, Stored

MAGIC = b"BM"

_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_NAMES = {1: "RLE8", 2: "RLE4", 4: "JPEG", 5: "PNG"}
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


@dataclass(frozen=True)
class _Layout:
    """What the header says; ``masks`` are those of red, green, blue and alpha."""

    width: int
    height: int
    top_down: bool
    bits: int
    start: int
    masks: tuple[int, int, int, int]
    palette: NDArray[np.uint8]

    @property
    def stride(self) -> int:
        """Bytes of a row: whole groups of four."""
        return (self.width * self.bits + 31) // 32 * 4


def read_header(content: bytes, name: str) -> Header:
    """Read the header.

    Raises:
        DataError: truncated, or of a kind that is not read.
    """
    layout = _layout(content, name)
    return Header("BMP", layout.width, layout.height, 1)


def read(content: bytes, name: str) -> Stored:
    """Decode a BMP of 1, 4, 8, 16, 24 or 32 bits.

    Raises:
        DataError: truncated, compressed, too large, or of a kind that is not read.
    """
    layout = _layout(content, name)
    require_size("BMP", layout.width, layout.height, max(3, layout.bits // 8), name)
    if layout.start + layout.stride * layout.height > len(content):
        raise DataError(name, "BMP image is truncated", REPLACE)
    rows = np.frombuffer(content, np.uint8, layout.stride * layout.height, layout.start)
    rows = rows.reshape(layout.height, layout.stride)
    if not layout.top_down:
        rows = rows[::-1]
    if layout.bits == 24:
        return Stored(rows[:, : 3 * layout.width].reshape(layout.height, layout.width, 3))
    if layout.bits <= 8:
        return _with_palette(rows, layout, name)
    return Stored(_with_masks(rows, layout))


def _layout(content: bytes, name: str) -> _Layout:
    start, size = struct.unpack_from("<II", content, 10)
    if size not in _HEADERS:
        raise DataError(name, "BMP header is damaged or of an unknown kind", REPLACE)
    compression = used = 0
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
        (used,) = struct.unpack_from("<I", content, 46)
    if compression not in (0, 3, 6) or (compression and size == 64):
        kind = _NAMES.get(compression, f"method {compression}")
        raise DataError(name, f"BMP is compressed ({kind})", "save it as PNG")
    if bits not in (1, 4, 8, 16, 24, 32) or (compression and bits not in (16, 32)):
        raise DataError(name, f"BMP has {bits} bits per pixel", "save it as PNG")
    masks = _MASKS.get(bits, (0, 0, 0, 0))
    if compression:
        count = 4 if compression == 6 or size >= 56 else 3
        masks = (*struct.unpack_from(f"<{count}I", content, 54), 0)[:4]
        _require_masks(masks, bits, name)
    if start > len(content):
        raise DataError(name, "BMP image is truncated", REPLACE)
    colours = np.empty((0, 3), np.uint8)
    if bits <= 8:
        entry = 3 if size == 12 else 4
        count = min(used or 1 << bits, 1 << bits, max(0, start - 14 - size) // entry)
        table = np.frombuffer(content, np.uint8, count * entry, 14 + size)
        colours = table.reshape(count, entry)[:, :3]
    if start < 14 + size or width < 0:
        raise DataError(name, "BMP header is damaged", REPLACE)
    return _Layout(width, abs(height), height < 0, bits, start, masks, colours)


def _require_masks(masks: tuple[int, ...], bits: int, name: str) -> None:
    """Refuse masks with gaps, overlaps, bits that a pixel lacks, or without a colour."""
    runs = all((mask + (mask & -mask)) & mask == 0 for mask in masks)
    apart = sum(masks) == masks[0] | masks[1] | masks[2] | masks[3]
    if not (all(masks[:3]) and runs and apart and max(masks) < 1 << bits):
        raise DataError(name, "BMP header is damaged (its colour masks)", REPLACE)


def _with_palette(rows: NDArray[np.uint8], layout: _Layout, name: str) -> Stored:
    """Look indices up: (H, W) where all of the palette is grey, else (H, W, 3) BGR."""
    grey = bool((layout.palette == layout.palette[:, :1]).all())
    table = layout.palette[:, 0] if grey else layout.palette
    result = np.empty((layout.height, layout.width, *table.shape[1:]), np.uint8)
    step = max(1, BAND // layout.width)
    for top in range(0, layout.height, step):
        indices = rows[top : top + step]
        if layout.bits < 8:
            ones = np.unpackbits(indices, axis=1).reshape(len(indices), -1, layout.bits)
            indices = ones @ (1 << np.arange(layout.bits)[::-1]).astype(np.uint8)
        indices = indices[:, : layout.width]
        if int(indices.max()) >= len(table):
            raise DataError(name, "BMP uses colours that its palette lacks", REPLACE)
        result[top : top + step] = table[indices]
    return Stored(result, () if grey else ("palette",))


def _with_masks(rows: NDArray[np.uint8], layout: _Layout) -> NDArray[np.uint8]:
    """Cut 16- or 32-bit numbers into (H, W, 3) BGR, or BGRA where alpha is used."""
    values: NDArray[Any] = rows.view("<u2" if layout.bits == 16 else "<u4")[:, : layout.width]
    blue_first = [layout.masks[index] for index in (2, 1, 0, 3)]
    channels = 4 if layout.masks[3] else 3
    result = np.empty((layout.height, layout.width, channels), np.uint8)
    step = max(1, BAND // layout.width)
    for top in range(0, layout.height, step):
        band = values[top : top + step].astype(np.int64)
        for channel, mask in enumerate(blue_first[:channels]):
            shift = (mask & -mask).bit_length() - 1 if mask else 0
            most = max(1, mask >> shift)
            result[top : top + step, :, channel] = (((band & mask) >> shift) * 510 + most) // (
                2 * most
            )
    if channels == 4 and not result[..., 3].any():
        return result[..., :3]  # written by programs that leave the alpha they announce empty
    return result
