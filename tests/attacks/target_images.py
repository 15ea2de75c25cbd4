"""Attack on the readers of picture files: TIFF, PNG, JPEG, BMP."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from foreign_images import plain_tiff, tiff, waves
from frame import Finding, Target, refused_or

from qlvit_edge.imagefile import read_header
from qlvit_edge.preprocess import decode


def _examine(content: bytes) -> bool:
    def read() -> None:
        pixels = decode(content, name="picture")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.size:
            raise Finding(f"pixels of {pixels.dtype} {pixels.shape}")
        header = read_header(content, "picture")
        if {header.width, header.height} != set(pixels.shape[:2]):
            raise Finding(f"{header} is said of pixels of {pixels.shape}")

    return refused_or(read)


def _encoded(ending: str, pixels: Any, *options: int) -> bytes:
    done, content = cv2.imencode(ending, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV writes no {ending}")
    return bytes(content)


def _pngs() -> list[bytes]:
    return [
        _encoded(".png", waves(20, 24, n, kind))
        for n in (1, 3, 4)
        for kind in (np.uint8, np.uint16)
    ]


def _jpegs() -> list[bytes]:
    colours, grey = waves(20, 24, 3, np.uint8), waves(20, 24, 1, np.uint8)
    progressive = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    return [
        _encoded(".jpg", colours),
        _encoded(".jpg", grey),
        _encoded(".jpg", colours, *progressive),
    ]


def _bmps() -> list[bytes]:
    found = [_encoded(".bmp", waves(20, 24, n, np.uint8)) for n in (1, 3, 4)]
    core = struct.pack("<IHHHH", 12, 6, 4, 1, 24) + bytes(range(80))
    return [*found, b"BM" + struct.pack("<IHHI", 14 + len(core), 0, 0, 26) + core]


def _tiffs() -> list[bytes]:
    eight, sixteen = waves(20, 24, 3, np.uint8), waves(20, 24, 3, np.uint16)
    options: list[dict[str, Any]] = [
        {},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"compression": "jpeg"},
        {"compression": "packbits"},
        {"compression": "zstd"},
        {"tile": (16, 16)},
        {"rowsperstrip": 5, "byteorder": ">"},
        {"bigtiff": True},
    ]
    found = [tiff(eight, photometric="rgb", **each) for each in options]
    found += [tiff(sixteen, photometric="rgb"), tiff(sixteen[..., 0], compression="zlib")]
    found.append(tiff(np.moveaxis(sixteen, 2, 0), photometric="rgb", planarconfig="separate"))
    tags = {256: 20, 257: 10, 258: 1, 259: 1, 262: 0, 277: 1, 278: 10}
    return [
        *found,
        plain_tiff(bytes(range(30)), tags),
        plain_tiff(bytes(range(30)), tags, order=">"),
    ]


def with_right_sums(_random: random.Random, content: bytes) -> bytes:
    """Change a PNG inside of its parts and give each its right checksum again."""
    if not content.startswith(b"\x89PNG"):
        return content
    parts, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        parts.append((content[at + 4 : at + 8], bytearray(content[at + 8 : at + 8 + length])))
        at += 12 + length
    kind, body = _random.choice(parts)
    if kind == b"IDAT" and _random.random() < 0.5:
        unpacked = bytearray(zlib.decompress(body))
        unpacked[_random.randrange(len(unpacked))] = _random.randrange(256)
        body[:] = zlib.compress(bytes(unpacked[: _random.randrange(len(unpacked) + 1)]))
    elif body:
        body[_random.randrange(len(body))] = _random.choice((0, 1, 3, 6, 16, 127, 128, 255))
    if _random.random() < 0.2:
        parts.insert(_random.randrange(len(parts) + 1), _random.choice(parts))
    if _random.random() < 0.1:
        del parts[_random.randrange(len(parts))]
    if _random.random() < 0.2:
        extra = _random.choice((b"tRNS", b"PLTE", b"acTL", b"eXIf", b"gAMA", b"zTXt", b"IDAT"))
        parts.insert(_random.randrange(len(parts) + 1), (extra, bytearray(_random.randbytes(9))))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return content[:8] + b"".join(chunks)


def _target(
    name: str, seeds: Callable[[], list[bytes]], words: Sequence[bytes] = (), **more: Any
) -> Target:
    def prepare(_folder: Path) -> tuple[Sequence[bytes], Callable[[bytes], bool]]:
        return seeds(), _examine

    # A picture may claim 100 million pixels, which the readers are allowed to hold.
    return Target(name, prepare, words, megabytes=1600, seconds=20, **more)


TARGETS = (
    _target("png", _pngs, change=with_right_sums),
    _target(
        "jpeg", _jpegs, [b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc2", b"\xff\xdb\0\x43"]
    ),
    _target("bmp", _bmps, [struct.pack("<I", n) for n in (12, 40, 108, 124)]),
    _target("tiff", _tiffs, [struct.pack("<HHI", tag, 3, 1) for tag in (258, 259, 262, 277, 317)]),
)
