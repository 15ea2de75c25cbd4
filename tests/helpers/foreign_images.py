"""Image files as other programs write them, odd and damaged, made by code."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray


def waves(height: int, width: int, channels: int, kind: type[np.unsignedinteger[Any]]) -> Any:
    """A smooth image that fills its range, with other values in every channel."""
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 7 + index) + np.cos(y / 9 + index) + 2 for index in range(channels)]
    return (np.stack(planes, axis=2) / 4 * np.iinfo(kind).max).astype(kind)


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    """A TIFF by tifffile."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def plain_tiff(
    data: bytes | list[bytes], tags: dict[int, int | tuple[int, ...]], *, order: str = "<"
) -> bytes:
    """A TIFF of any tags: the strips first, then the directory.

    Args:
        data: one strip or several.
        tags: tag → number or numbers; those of 16 bits are stored as SHORT.
        order: of the bytes.
    """
    strips = [data] if isinstance(data, bytes) else data
    offsets = np.cumsum([8, *map(len, strips)])
    every: dict[int, tuple[int, ...]] = {
        273: tuple(map(int, offsets[:-1])),
        279: tuple(map(len, strips)),
    }
    every |= {tag: value if isinstance(value, tuple) else (value,) for tag, value in tags.items()}
    end = int(offsets[-1])
    outside, entries = b"", b""
    for tag, values in sorted(every.items()):
        kind, letter = (4, "I") if tag in (273, 279) or max(values) > 65535 else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            place = end + len(outside)
            outside += packed
            packed = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "I", end + len(outside))
    count = struct.pack(order + "H", len(every))
    return head + b"".join(strips) + outside + count + entries + bytes(4)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    size: tuple[int, int],
    bits: int,
    colour: int,
    rows: bytes,
    *extra: bytes,
    interlace: int = 0,
    data: bytes | None = None,
) -> bytes:
    """A PNG of given filtered rows, or of given compressed data; ``size`` = (width, height)."""
    parts = [
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlace)),
        *extra,
        png_chunk(b"IDAT", zlib.compress(rows) if data is None else data),
        png_chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp(
    size: tuple[int, int],
    bits: int,
    rows: bytes,
    *,
    header: int = 40,
    compression: int = 0,
    masks: tuple[int, ...] = (),
    palette: bytes = b"",
) -> bytes:
    """A BMP of given rows; ``size`` = (width, height), negative for rows from the top."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, *size, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, 0, 0, 0, 0, 0)
        info = struct.pack("<I", header) + info[4:]
    info += struct.pack(f"<{len(masks)}I", *masks)
    info = info.ljust(header, b"\0") + palette
    return struct.pack("<2sIHHI", b"BM", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + (
        info + rows
    )


def segment(marker: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
