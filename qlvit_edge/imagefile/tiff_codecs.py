"""What compresses the strips and tiles of a TIFF: each is unpacked to its exact length.

zlib and lzma come with Python and check what they unpack; LZW and PackBits have a reader
here. The extra ``tiff`` (imagecodecs) adds faster readers of these two and other methods.
"""

from __future__ import annotations

import importlib
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import MAX_SLOW, MAX_STORED

EXTRA = "pip install 'qlvit-edge[tiff]', or save it uncompressed"
PLAIN = "save it uncompressed or with deflate"

RAW, LZW, JPEG, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
JPEG_2000, LERC, LZMA, ZSTD = 34712, 34887, 34925, 50000
APERIO_RGB = 33005  # JPEG 2000 of RGB

NAMES = {
    2: "fax (CCITT RLE)",
    3: "fax (CCITT group 3)",
    4: "fax (CCITT group 4)",
    LZW: "LZW",
    6: "old-style JPEG",
    JPEG: "JPEG",
    DEFLATE: "deflate",
    32766: "NeXT",
    PACKBITS: "PackBits",
    32809: "ThunderScan",
    32908: "PixarFilm",
    32909: "PixarLog",
    OLD_DEFLATE: "deflate",
    33003: "JPEG 2000 of YCbCr",
    33004: "JPEG 2000",
    APERIO_RGB: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogL",
    34677: "SGI LogLuv",
    JPEG_2000: "JPEG 2000",
    34713: "Nikon NEF",
    LERC: "LERC",
    34892: "lossy JPEG of a camera's raw file",
    LZMA: "LZMA",
    34926: "zstd",
    34927: "WebP",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    ZSTD: "zstd",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}

_CLEAR, _END, _FIRST = 256, 257, 258
# Where the codes of a cycle, from one clear code to the next, begin, and how wide they are: a
# code is one bit wider from the moment the table lacks one entry of being full (TIFF 6.0).
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2050])
_STARTS = np.concatenate([[0], np.cumsum(_WIDTHS)])[:-1]


class DamagedError(ValueError):
    """The bytes do not unpack; the message says in what way."""


def unpacker(compression: int, name: str, size: int) -> Callable[[bytes, int], Any]:
    """Return what unpacks the strips or tiles of one picture.

    Args:
        compression: the TIFF tag's value.
        name: what to call the file.
        size: bytes that the whole picture takes unpacked.

    Returns:
        A function of a strip's bytes and the most bytes it may give: the bytes, or an array
        where the method stores pictures rather than bytes. It raises `DamagedError`.

    Raises:
        DataError: this method is not read, or not without the extra.
    """
    if compression in _OWN:
        return _OWN[compression]
    method = NAMES.get(compression, f"method {compression}")
    if compression not in _EXTRA:
        raise DataError(name, f"TIFF is compressed with {method}, which is not read", PLAIN)
    codec, decode = _EXTRA[compression]
    if _extra_has(codec):
        return decode
    slow = _SLOW.get(compression)
    if slow is None:
        raise DataError(name, f"TIFF is compressed with {method}", EXTRA)
    if size > MAX_SLOW:
        raise DataError(
            name, f"TIFF of {size / 1e6:.0f} MB is compressed with {method}, slow to read", EXTRA
        )
    return slow


def _extra_has(codec: str) -> bool:
    """Whether imagecodecs is installed and was built with a codec."""
    try:
        module = importlib.import_module("imagecodecs")
    except ImportError:
        return False
    return bool(getattr(getattr(module, codec, None), "available", False))


def _inflate(data: bytes, most: int) -> bytes:
    """Unpack deflate; zlib compares the Adler-32 checksum at its end."""
    inflater = zlib.decompressobj()
    try:
        result = inflater.decompress(data, most)
    except zlib.error as error:
        raise DamagedError(str(error)) from error
    if len(result) < most and not inflater.eof:
        raise DamagedError("it is cut")
    return result


def _unpack_lzma(data: bytes, most: int) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_STORED)
    try:
        result = unpacker.decompress(data, most)
    except lzma.LZMAError as error:
        raise DamagedError(str(error)) from error
    if len(result) < most and not unpacker.eof:
        raise DamagedError("it is cut")
    return result


def unpack_lzw(data: bytes, most: int) -> bytes:
    """Unpack TIFF's LZW.

    Args:
        data: a strip.
        most: bytes after which to stop.

    Raises:
        DamagedError: a code that the table lacks, or a table that was never cleared.
    """
    _require_clear(data)
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
    made: list[bytes] = []
    length, bit = 0, 9  # after the first clear code
    while True:
        codes, ends = _codes(padded, len(data) * 8, bit)
        table = [bytes([value]) for value in range(256)] + [b"", b""]
        before = b""
        for code, end in zip(codes, ends, strict=True):
            if code == _END:
                return b"".join(made)
            if code == _CLEAR:
                bit += end
                break
            if code < len(table):
                string = table[code]
            elif code == len(table) and before:
                string = before + before[:1]
            else:
                raise DamagedError("it uses a code that was not defined")
            if before:
                table.append(before + string[:1])
            before = string
            made.append(string)
            length += len(string)
            if length >= most:
                return b"".join(made)[:most]
        else:
            if len(codes) == len(_WIDTHS):
                raise DamagedError("its codes are damaged")
            return b"".join(made)


def _codes(data: Any, bits: int, first: int) -> tuple[list[int], list[int]]:
    """Return the codes of one cycle from bit ``first`` on, and where each ends after it."""
    count = int(np.searchsorted(_STARTS + _WIDTHS, bits - first, side="right"))
    starts, widths = _STARTS[:count], _WIDTHS[:count]
    place, within = np.divmod(first + starts, 8)
    window = data[place] << 16 | data[place + 1] << 8 | data[place + 2]
    codes = window >> (24 - within - widths).astype(np.uint32) & ((1 << widths) - 1)
    return codes.tolist(), (starts + widths).tolist()


def _require_clear(data: bytes) -> None:
    """Every strip begins with the clear code, the most significant bit first."""
    if data[:1] != b"\x80":
        raise DamagedError("it does not begin as LZW does")


def unpack_packbits(data: bytes, most: int) -> bytes:
    """Unpack PackBits (TIFF 6.0, section 9).

    Raises:
        DamagedError: a run reaches over the end.
    """
    made: list[bytes] = []
    position, length = 0, 0
    while position < len(data) and length < most:
        head = data[position]
        if head < 128:
            run = data[position + 1 : position + 2 + head]
            if len(run) <= head:
                raise DamagedError("it is cut")
            position += 2 + head
        elif head == 128:
            run, position = b"", position + 1
        else:
            run = data[position + 1 : position + 2] * (257 - head)
            if not run:
                raise DamagedError("it is cut")
            position += 2
        made.append(run)
        length += len(run)
    return b"".join(made)[:most]


def _bytes_by(function: str) -> Callable[[bytes, int], Any]:
    """Return an unpacker that has imagecodecs fill a buffer of at most the given length."""

    def unpack(data: bytes, most: int) -> Any:
        imagecodecs = importlib.import_module("imagecodecs")
        if function == "lzw_decode":
            _require_clear(data)
        try:
            return getattr(imagecodecs, function)(data, out=np.empty(most, np.uint8)).tobytes()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DamagedError(str(error)) from error

    return unpack


def _picture_by(
    function: str, claim: Callable[[bytes], tuple[int, int]]
) -> Callable[[bytes, int], Any]:
    """Return an unpacker that gives an array: such streams carry their size themselves."""

    def unpack(data: bytes, most: int) -> Any:
        imagecodecs = importlib.import_module("imagecodecs")
        try:
            width, height = claim(data)
            if width * height > most:
                raise DamagedError(f"it claims {width}x{height} pixels")
            return np.asarray(getattr(imagecodecs, function)(data))
        except (RuntimeError, ValueError, MemoryError, struct.error) as error:
            raise DamagedError(str(error)) from error

    return unpack


def _claim_of_jpeg_2000(data: bytes) -> tuple[int, int]:
    """Read the size of the first code stream (SIZ segment), bare or in a JP2 box."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise DamagedError("it does not begin as JPEG 2000 does")
    across, down = struct.unpack_from(">II", data, start + 8)
    return across, down


def _claim_of_lerc(data: bytes) -> tuple[int, int]:
    version = struct.unpack_from("<i", data, 6)[0] if data.startswith(b"Lerc2 ") else 0
    if not 3 <= version <= 6:
        raise DamagedError("it is not LERC 2 with a checksum")
    down, across = struct.unpack_from("<ii", data, 14)
    return across, down


def _raw(data: bytes, most: int) -> bytes:
    return data[:most]


_OWN: dict[int, Callable[[bytes, int], Any]] = {
    RAW: _raw,
    DEFLATE: _inflate,
    OLD_DEFLATE: _inflate,
    LZMA: _unpack_lzma,
}
_SLOW: dict[int, Callable[[bytes, int], Any]] = {LZW: unpack_lzw, PACKBITS: unpack_packbits}
# Compression → (what imagecodecs calls the codec, unpacker).
_EXTRA: dict[int, tuple[str, Callable[[bytes, int], Any]]] = {
    LZW: ("LZW", _bytes_by("lzw_decode")),
    PACKBITS: ("PACKBITS", _bytes_by("packbits_decode")),
    ZSTD: ("ZSTD", _bytes_by("zstd_decode")),
    34926: ("ZSTD", _bytes_by("zstd_decode")),
    JPEG_2000: ("JPEG2K", _picture_by("jpeg2k_decode", _claim_of_jpeg_2000)),
    APERIO_RGB: ("JPEG2K", _picture_by("jpeg2k_decode", _claim_of_jpeg_2000)),
    LERC: ("LERC", _picture_by("lerc_decode", _claim_of_lerc)),
}
