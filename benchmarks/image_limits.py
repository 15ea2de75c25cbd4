"""The most memory that one allowed picture takes: files at the limits, each in its own process.

    python benchmarks/image_limits.py [--pixels 100e6] [--only PART-OF-NAME]

Prints for each file its size, the pixels, the peak of the process (VmHWM) over that of a
process which only imports, and the seconds; or how it was refused.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

CHILD = """
import sys, time
from pathlib import Path
from qlvit_edge.errors import DataError
from qlvit_edge.preprocess import decode, preprocess
begin = time.perf_counter()
said = "preprocessed"
try:
    if len(sys.argv) > 1:
        preprocess(decode(Path(sys.argv[1])), (224, 224))
except DataError as error:
    said = str(error).partition(": ")[2]
seconds = time.perf_counter() - begin
peak = next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]
print(f"{int(peak) / 1024:.0f}\\t{seconds:.1f}\\t{said}")
"""


def png(side: int, bits: int, colour: int, channels: int, *, interlaced: bool = False) -> bytes:
    """A PNG whose rows are all zero, which deflate packs a thousandfold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = 1 + side * channels * bits // 8
    length = side * row
    if interlaced:
        length = 0
        for left, top, across, down in (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ):
            high, wide = -(-(side - top) // down), -(-(side - left) // across)
            length += high * (1 + wide * channels * bits // 8)
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    data = b"".join(
        packer.compress(zeros[: min(len(zeros), length - start)])
        for start in range(0, length, len(zeros))
    )
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", bytes(3)) if colour == 3 else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", data + packer.flush())
        + chunk(b"IEND", b"")
    )


def jpeg(side: int, *, progressive: bool) -> bytes:
    """A grey-looking colour JPEG without subsampling."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", np.full((side, side, 3), 90, np.uint8), options)[1].tobytes()


def tiff(side: int, bits: int, samples: int, compression: int) -> bytes:
    """A TIFF of one strip, raw or deflated."""
    length = side * side * samples * bits // 8
    data = bytes(length) if compression == 1 else zlib.compress(bytes(length), 9)
    alpha = [(338, 3, 2)] if samples == 4 else []
    entries = [
        (256, 4, side),
        (257, 4, side),
        (259, 3, compression),
        (262, 3, 2),
        (273, 4, 8),
        (277, 3, samples),
        (278, 4, side),
        (279, 4, len(data)),
        *alpha,
    ]
    place = 8 + len(data)
    deep = struct.pack(f"<{samples}H", *[bits] * samples)
    entries.append((258, 3, place))
    place += len(deep)
    directory = b"".join(
        struct.pack("<HHII", tag, kind, samples if tag == 258 else 1, value)
        for tag, kind, value in sorted(entries)
    )
    head = b"II*\0" + struct.pack("<I", place)
    return head + data + deep + struct.pack("<H", len(entries)) + directory + bytes(4)


def bmp(side: int) -> bytes:
    """A BMP of 32 bits."""
    length = side * side * 4
    head = struct.pack("<2sIHHI", b"BM", 54 + length, 0, 0, 54)
    return (
        head
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 32, 0, length, 0, 0, 0, 0)
        + bytes(length)
    )


def files(pixels: float) -> dict[str, Callable[[], bytes]]:
    """The largest of each kind that the limits allow, and a little more of some."""
    side = int(pixels**0.5)
    shrunk = {share: int((pixels * share) ** 0.5) for share in (0.5, 0.66)}
    return {
        "PNG grey 8": lambda: png(side, 8, 0, 1),
        "PNG palette": lambda: png(side, 8, 3, 1),
        "PNG RGB 8": lambda: png(side, 8, 2, 3),
        "PNG RGBA 8 interlaced": lambda: png(side - 8, 8, 6, 4, interlaced=True),
        "PNG RGBA 8": lambda: png(side - 8, 8, 6, 4),
        "PNG RGBA 16, half the pixels": lambda: png(shrunk[0.5] - 8, 16, 6, 4),
        "PNG RGBA 16": lambda: png(side, 16, 6, 4),
        "JPEG": lambda: jpeg(side, progressive=False),
        "JPEG progressive, 66 % of the pixels": lambda: jpeg(shrunk[0.66], progressive=True),
        "JPEG progressive": lambda: jpeg(side, progressive=True),
        "TIFF RGB 8 raw": lambda: tiff(side, 8, 3, 1),
        "TIFF RGB 16 raw, 66 % of the pixels": lambda: tiff(shrunk[0.66], 16, 3, 1),
        "TIFF RGBA 16 deflate, half the pixels": lambda: tiff(shrunk[0.5], 16, 4, 8),
        "BMP 32": lambda: bmp(side),
    }


def measure(path: Path | None) -> tuple[int, str, str]:
    """Peak in MiB, seconds, and what was said, of a process that reads the file."""
    arguments = [] if path is None else [str(path)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True
    )
    peak, seconds, said = done.stdout.strip().split("\t")
    return int(peak), seconds, said


def main() -> None:
    """Make the files one by one and print a line for each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pixels", type=float, default=99.9e6)
    options.add_argument("--only", default="")
    given = options.parse_args()
    idle = measure(None)[0]
    print(f"{'':40} {'file':>9} {'memory':>9} {'time':>7}   (importing alone: {idle} MiB)")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in files(given.pixels).items():
            if given.only not in name:
                continue
            path = Path(folder) / "picture"
            path.write_bytes(make())
            size = path.stat().st_size
            peak, seconds, said = measure(path)
            print(
                f"{name:40} {size / 1e6:6.1f} MB {peak - idle:5} MiB {seconds:>5} s   {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
