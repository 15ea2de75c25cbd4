"""No picture takes more than the stated memory; those that would are refused by their header."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from foreign_images import bmp, plain_tiff, png, waves

from qlvit_edge import imagefile
from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import limits
from qlvit_edge.preprocess import resize, to_rgb8

CHILD = """
import sys
from pathlib import Path
from qlvit_edge.preprocess import decode, preprocess
if len(sys.argv) > 1:
    preprocess(decode(Path(sys.argv[1])), (96, 96))
print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
"""
SIDE = 1600


def peak(*paths: Path) -> int:
    """Highest memory in bytes of a process that reads a file, or none."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, paths)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) * 1024


@pytest.fixture(scope="module")
def idle() -> int:
    """What importing takes."""
    return peak()


def deep_rgba() -> bytes:
    return png((SIDE, SIDE), 16, 6, bytes((1 + 8 * SIDE) * SIDE))


def palette() -> bytes:
    colours = struct.pack(">I4s", 3, b"PLTE") + bytes(3)
    colours += struct.pack(">I", zlib.crc32(b"PLTE" + bytes(3)))
    return png((SIDE, SIDE), 8, 3, bytes((1 + SIDE) * SIDE), colours)


def deep_tiff() -> bytes:
    tags = {256: SIDE, 257: SIDE, 258: (16,) * 4, 259: 8, 262: 2, 277: 4, 278: SIDE, 338: 2}
    return plain_tiff(zlib.compress(bytes(8 * SIDE * SIDE), 1), tags)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("make", "stored"),
    [
        (deep_rgba, 8),
        (palette, 3),
        (deep_tiff, 8),
        (lambda: bmp((SIDE, SIDE), 32, bytes(4 * SIDE * SIDE)), 4),
    ],
    ids=["PNG of 16 bits with alpha", "PNG with palette", "TIFF of 16 bits with alpha", "BMP"],
)
def test_memory_is_that_of_the_pixels_and_their_8_bit_copy(
    make: object, stored: int, idle: int, tmp_path: Path
) -> None:
    """At the limits: 400 MB as stored, 300 as RGB, and the file itself."""
    assert callable(make)
    path = tmp_path / "large"
    path.write_bytes(make())
    pixels = SIDE * SIDE
    # A raw strip or row store is held beside its pixels; 64 MiB are for bands and libraries.
    allowed = path.stat().st_size + pixels * (2 * stored + 3) + (64 << 20)
    assert peak(path) - idle < allowed


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (png((10_000, 10_000), 16, 6, b""), "takes 800 MB, more than 400"),
        (png((65_536, 10), 8, 0, b""), "more than 65535 along a side"),
        (png((20_000, 20_000), 1, 0, b""), "claims 20000x20000 pixels"),
        (bmp((65_536, 1), 24, b""), "more than 65535 along a side"),
        (plain_tiff(b"x", {256: 10**6, 257: 1, 258: 8, 262: 1}), "more than 65535 along a side"),
        (plain_tiff(b"x", {256: 10**5, 257: 10**5, 258: 8, 262: 1}), "claims 100000x100000"),
        (
            plain_tiff(b"x", {256: 9000, 257: 9000, 258: (16,) * 3, 262: 2, 277: 3}),
            "takes 486 MB, more than 400",
        ),
    ],
)
def test_what_takes_more_is_refused_by_its_header(content: bytes, finding: str) -> None:
    with pytest.raises(DataError, match="cell 7: ") as caught:
        imagefile.read(content, "cell 7")
    assert finding in str(caught.value)


@pytest.mark.parametrize("shape", [(40_000, 3), (3, 40_000), (1, 65_535), (65_535, 1)])
def test_long_images_are_resized_in_little_memory(shape: tuple[int, int]) -> None:
    image = waves(*shape, 3, np.uint8)
    small = resize(image, (96, 96))
    assert small.shape == (96, 96, 3)
    # Whole blocks of the longer side average to the same, whatever the parts were.
    axis = int(np.argmax(shape))
    assert abs(small.mean() - image.mean()) < 2
    assert small.std(axis=axis).max() < 80


def test_parts_and_bands_change_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    from qlvit_edge import preprocess, resample
    from qlvit_edge.imagefile import stored

    image = waves(70, 90, 4, np.uint16)
    whole = to_rgb8(image)
    resized = resize(whole, (33, 40)), resize(whole, (200, 31))
    monkeypatch.setattr(resample, "_PART", 64)
    monkeypatch.setattr(preprocess, "_BAND", 100)
    monkeypatch.setattr(stored, "BAND", 100)
    assert np.array_equal(to_rgb8(image), whole)
    assert np.array_equal(resize(whole, (33, 40)), resized[0])
    assert np.array_equal(resize(whole, (200, 31)), resized[1])
    table = np.arange(512).reshape(256, 2)
    assert np.array_equal(stored.look_up(table, image[..., 0] % 256), table[image[..., 0] % 256])


def test_limits_are_those_of_the_documentation() -> None:
    assert (limits.MAX_PIXELS, limits.MAX_SIDE, limits.MAX_STORED) == (10**8, 65_535, 4 * 10**8)
    assert (limits.MAX_BYTES, limits.MAX_SCAN_PIXELS) == (512 << 20, 10**9)
