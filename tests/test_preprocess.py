"""Decoding, resizing and their bytes."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import time
import zlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qlvit_edge import bundled, imagefile
from qlvit_edge.errors import DataError
from qlvit_edge.preprocess import decode, load, preprocess, resize
from qlvit_edge.resample import WEIGHT_BITS, triangle_weights

# Recorded on x86-64; any CPU, BLAS and NumPy must give the same bytes.
GOLDEN = {
    (96, 96): "53e6f2f72ec019e3410f96e8ecd137da8793cb9133cd322bdcc6d2b44fd71d7c",
    (224, 224): "795352cf58845694e6daf4562bcbf59817025214e3af474374fd53db8630144c",
    (500, 333): "f9822080fc2d6b888768750e8ca8bb7d6a52a39abe34989b73b02a283ffd2a7b",
}


def synthetic(height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """An image made of integers alone: ramps, a checker and a disc."""
    y, x = np.mgrid[:height, :width]
    disc = (y - height // 2) ** 2 + (x - width // 3) ** 2 < (height // 4) ** 2
    planes = [(x * 7 + y * 3) % 256, (x ^ y) % 256, np.where(disc, 200, (x * y) % 251)]
    return np.stack(planes, axis=2).astype(np.uint8)


def encoded(pixels: NDArray[np.generic], suffix: str) -> bytes:
    """Encode RGB, RGBA or grey."""
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    done, content = cv2.imencode(suffix, np.ascontiguousarray(pixels))
    assert done
    return content.tobytes()


def matrix(before: int, after: int) -> NDArray[np.int64]:
    """The weights as a matrix, from the windows they are kept in."""
    first, rows = triangle_weights(before, after)
    weights = np.zeros((after, before), np.int64)
    np.put_along_axis(weights, first[:, None] + np.arange(rows.shape[1]), rows, 1)
    return weights


@pytest.mark.parametrize("size", list(GOLDEN))
def test_resized_bytes_are_the_recorded_ones(size: tuple[int, int]) -> None:
    assert hashlib.sha256(resize(synthetic(), size).tobytes()).hexdigest() == GOLDEN[size]


@pytest.mark.parametrize(("before", "after"), [(320, 96), (96, 320), (7, 5), (5000, 3), (1, 9)])
def test_weights_are_whole_and_sum_to_one(before: int, after: int) -> None:
    weights = matrix(before, after)
    assert weights.dtype == np.int64
    assert weights.min() >= 0
    assert (weights.sum(axis=1) == 1 << WEIGHT_BITS).all()


@settings(max_examples=30, deadline=None)
@given(
    high=st.integers(1, 40),
    wide=st.integers(1, 40),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 9),
)
def test_float_carries_the_integer_sums_exactly(
    high: int, wide: int, size: tuple[int, int], seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8)
    rows, columns = matrix(high, size[0]), matrix(wide, size[1])
    sums = np.einsum("ij,jkc,lk->ilc", rows, image.astype(np.int64), columns)
    expected = (sums + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)
    assert np.array_equal(resize(image, size), expected)


def test_worst_case_sum_stays_exact_in_float64() -> None:
    assert 255 * (1 << (2 * WEIGHT_BITS)) + (1 << (2 * WEIGHT_BITS - 1)) < 1 << 53
    white = np.full((2000, 30, 3), 255, np.uint8)
    assert (resize(white, (17, 96)) == 255).all()


def test_weights_follow_the_triangle() -> None:
    for before, after in ((10, 4), (4, 10)):
        scale = Fraction(before, after)
        support = max(Fraction(1), scale)
        weights = matrix(before, after)
        for i in range(after):
            centre = (i + Fraction(1, 2)) * scale
            exact = [
                max(Fraction(0), 1 - abs(j + Fraction(1, 2) - centre) / support)
                for j in range(before)
            ]
            for weight, ideal in zip(weights[i], exact, strict=True):
                assert abs(int(weight) - ideal / sum(exact) * (1 << WEIGHT_BITS)) < 1


def test_shrinking_uses_every_pixel() -> None:
    stripes = np.zeros((96, 960, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = resize(stripes, (96, 96))[:, 1:-1].astype(int)
    assert np.abs(inner - 128).max() <= 1


def test_same_size_is_a_copy() -> None:
    image = synthetic(20, 30)
    result = resize(image, (20, 30))
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_resizing_a_camera_crop_is_quick() -> None:
    image = synthetic()
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        resize(image, (96, 96))
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.05  # about 1.5 ms on an idle core


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_not_an_image_is_refused(wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"expected|cannot resize"):
        resize(wrong, (8, 8))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_formats_give_the_pixels_back(suffix: str) -> None:
    image = synthetic(30, 41)
    assert np.array_equal(decode(encoded(image, suffix)), image)


def test_jpeg_decodes_close_to_the_pixels() -> None:
    image = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    assert np.abs(decode(encoded(image, ".jpg")).astype(int) - image).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg"])
def test_grey_is_repeated(suffix: str) -> None:
    result = decode(encoded(np.full((9, 11), 77, np.uint8), suffix))
    assert result.shape == (9, 11, 3)
    assert (result == 77).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bits_are_divided_by_257(suffix: str) -> None:
    levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    expected = (levels.astype(np.int64) * 2 + 257) // 514
    for pixels in (levels, np.repeat(levels[:, :, None], 3, axis=2)):
        result = decode(encoded(pixels, suffix))
        assert np.array_equal(result, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_alpha_is_laid_over_white(kind: type[np.unsignedinteger], suffix: str) -> None:
    white = np.iinfo(kind).max
    pixels = np.zeros((2, 2, 4), kind)
    pixels[0, 0] = (white, 0, 0, white)  # opaque red
    pixels[0, 1] = (white, 0, 0, 0)  # nothing at all
    pixels[1, 0] = (0, 0, 0, white // 5)
    content = encoded(pixels, suffix)
    if suffix == ".tiff":  # OpenCV's writer does not say that the fourth channel is alpha
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unassalpha"])
        content = file.getvalue()
    result = decode(content)
    assert result[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert result[1].tolist() == [[204, 204, 204], [255, 255, 255]]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(colour: int, rows: bytes, *extra: bytes, size: tuple[int, int] = (2, 1)) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 8, colour, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_palette_and_grey_with_alpha_decode() -> None:
    palette = png(3, b"\0\0\1", chunk(b"PLTE", bytes([1, 2, 3, 250, 150, 50])))
    assert decode(palette).tolist() == [[[1, 2, 3], [250, 150, 50]]]
    see_through = chunk(b"PLTE", bytes([1, 2, 3, 250, 150, 50])) + chunk(b"tRNS", b"\0")
    assert decode(png(3, b"\0\0\1", see_through)).tolist() == [[[255] * 3, [250, 150, 50]]]
    assert decode(png(4, b"\0\x0a\xff\x0a\x00")).tolist() == [[[10] * 3, [255] * 3]]


def exif(orientation: int, order: str) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


# Where the bright upper left quarter of a stored image belongs (EXIF 2.32, tag 274).
CORNERS = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", list(CORNERS))
def test_exif_orientation_turns_jpeg_and_png(orientation: int, order: str) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = 255
    stored[:4, :24] = 120  # which edge of the quarter is which
    tiff = exif(orientation, order)
    jpeg = encoded(stored, ".jpg")
    body = b"Exif\0\0" + tiff
    jpeg = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    plain = encoded(stored, ".png")
    at = plain.index(b"IDAT") - 4
    tagged = plain[:at] + chunk(b"eXIf", tiff) + plain[at:]
    for content in (jpeg, tagged):
        image = decode(content).astype(int)
        assert image.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
        corner = CORNERS[orientation]
        row = 8 if corner[0] == "t" else image.shape[0] - 9
        column = 8 if corner[1] == "l" else image.shape[1] - 9
        assert image[row, column, 0] > 230
        edge_row = 1 if corner[0] == "t" else -2
        edge_column = 1 if corner[1] == "l" else -2
        edge = image[edge_row, column, 0] if orientation < 5 else image[row, edge_column, 0]
        assert abs(edge - 120) < 20


def test_damaged_exif_is_ignored() -> None:
    jpeg = encoded(synthetic(16, 16), ".jpg")
    body = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    damaged = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    assert np.array_equal(decode(damaged), decode(jpeg))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.03, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused_in_silence(
    suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = encoded(synthetic(60, 80), suffix)
    with pytest.raises(DataError, match="cell 7"):
        decode(content[: int(len(content) * kept)], name="cell 7")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff"])
def test_random_damage_never_escapes_as_another_error(
    suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = encoded(synthetic(60, 80), suffix)
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(0, min(len(damaged), 700), 3):
            damaged[place] = random.integers(256)
        try:
            decode(bytes(damaged))
        except DataError:
            refused += 1
    assert refused > 0
    assert capfd.readouterr() == ("", "")


def test_jpeg_that_lost_data_inside_is_refused() -> None:
    content = encoded(synthetic(), ".jpg")
    with pytest.raises(DataError, match="corrupt"):
        decode(content[: len(content) // 2] + b"\xff\xd9")


def test_flipped_bit_in_a_png_is_refused() -> None:
    content = bytearray(encoded(synthetic(60, 80), ".png"))
    content[content.index(b"IDAT") + 100] ^= 1
    with pytest.raises(DataError, match="'IDAT' fails its checksum"):
        decode(bytes(content))


def test_png_with_missing_rows_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="truncated or corrupt"):
        decode(png(0, b"\0\1\2", size=(2, 9)))
    assert capfd.readouterr() == ("", "")


def test_bytes_after_the_end_of_a_jpeg_are_harmless() -> None:
    content = encoded(synthetic(), ".jpg")
    assert np.array_equal(decode(content + b"maker's notes"), decode(content))


def test_decompression_bombs_are_refused_by_their_header() -> None:
    bomb = png(0, b"\0" * 1000, size=(60_000, 60_000))
    with pytest.raises(DataError, match="claims 60000x60000 pixels"):
        decode(bomb)


def test_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(imagefile.MAX_BYTES + 1)
    with pytest.raises(DataError, match="larger than 512 MiB"):
        decode(large)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "another format .GIF."),
        (b"\xff\xd8\xff\xd9", "no image data"),
    ],
)
def test_files_that_hold_no_image_are_refused(content: bytes, finding: str) -> None:
    with pytest.raises(DataError, match=finding):
        decode(content)


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a file"):
        decode(tmp_path)
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        decode(tmp_path / "gone.png")


def test_names_may_hold_spaces_and_any_letter(tmp_path: Path) -> None:
    path = tmp_path / "Übersicht 細胞 1.PNG"
    path.write_bytes(encoded(synthetic(20, 20), ".png"))
    assert np.array_equal(decode(path), synthetic(20, 20))


def test_file_bytes_and_array_give_the_same_input(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    path.write_bytes(encoded(synthetic(), ".png"))
    expected = resize(synthetic(), (96, 96))
    assert np.array_equal(load(path, (96, 96)), expected)
    assert np.array_equal(preprocess(decode(path.read_bytes()), (96, 96)), expected)


def test_what_others_print_while_an_image_decodes_is_not_lost(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cv2.imdecode

    def noisy(*arguments: object) -> object:
        os.write(2, b"\x1b[2Kepoch 3\n\n")
        return real(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imdecode", noisy)
    decode(encoded(synthetic(8, 8), ".png"))
    assert capfd.readouterr().err == "\x1b[2Kepoch 3\n\n"


def test_processes_forked_while_threads_decode_can_decode_too() -> None:
    code = """
import multiprocessing, sys, threading
from pathlib import Path
from qlvit_edge.preprocess import decode
content = Path(sys.argv[1]).read_bytes()
stop = threading.Event()
def work():
    while not stop.is_set():
        decode(content)
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
context = multiprocessing.get_context("fork")
for _ in range(10):
    child = context.Process(target=decode, args=(content,))
    child.start()
    child.join(20)
    assert child.exitcode == 0, child.exitcode
stop.set()
"""
    fixture = next((Path(bundled.__path__[0]) / "fields").glob("*.jpg"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(fixture)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
