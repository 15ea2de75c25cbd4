"""JPEGs with odd headers are read as they are meant; those that lost pixels are refused."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from foreign_images import segment, waves
from numpy.typing import NDArray

from qlvit_edge import imagefile
from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import jpeg, limits
from qlvit_edge.preprocess import decode

IMAGE = waves(80, 120, 3, np.uint8)


def encoded(*options: int, grey: bool = False) -> bytes:
    """A JPEG by OpenCV."""
    pixels = np.ascontiguousarray(IMAGE[..., 0] if grey else IMAGE[..., ::-1])
    return cv2.imencode(".jpg", pixels, list(options))[1].tobytes()


PLAIN = encoded(cv2.IMWRITE_JPEG_QUALITY, 95)
PROGRESSIVE = encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"


def libjpeg(content: bytes) -> NDArray[Any]:
    """What OpenCV makes of a good file."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels)


def before(content: bytes, marker: int, inserted: bytes) -> bytes:
    """The file with bytes inserted before a segment; 0xD8 stands for right after its start."""
    at = 2 if marker == 0xD8 else content.index(bytes([0xFF, marker]))
    return content[:at] + inserted + content[at:]


def refusal(content: bytes) -> str:
    with pytest.raises(DataError, match="cell 7: ") as caught:
        imagefile.read(content, "cell 7")
    return str(caught.value)


@pytest.mark.parametrize("content", [PLAIN, PROGRESSIVE, RESTARTS, encoded(grey=True)])
@pytest.mark.parametrize("marker", [0xD8, 0xDB, 0xC4, 0xDA])
@pytest.mark.parametrize(
    "odd",
    [
        b"\0\1\2abc",
        b"\0" * 300,
        bytes(range(1, 200)),
        b"\xff\0\xff\0",
        b"\xff" * 100,
        b"\xff\xd0\xff\xd3",
        b"\xff\x01",
        b"\xff\xd8",
        segment(0xFE, b""),
        segment(0xFE, b"abc"),
        segment(0xE2, b"ICC_PROFILE\0\x05\x02xxx"),
        segment(0xE1, EXIF),
        segment(0xE1, EXIF + PLAIN),
        segment(0xE0, b"JFXX\0\x10" + PLAIN),
        segment(0x02, b"reserved"),
        segment(0xF0, b"reserved"),
        b"\xff\xe5\0\x04" + b"ab" + b"more than the length says",
        b"\xff\xe5\0\0",
        segment(0xEE, b"Adobe\0"),
    ],
    ids=lambda odd: odd[:12].hex(),
)
def test_odd_headers_harm_nothing(
    content: bytes, marker: int, odd: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    if marker not in content:
        pytest.skip("has no such segment")
    read = imagefile.read_pixels(before(content, marker, odd), "x")
    assert np.array_equal(read, libjpeg(content))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("at", "value"),
    [(11, b"\x09\x09"), (13, b"\x07\0\0\0\0"), (18, b"\x05\x05")],
    ids=["revision", "density", "thumbnail"],
)
def test_odd_jfif_fields_harm_nothing(at: int, value: bytes) -> None:
    odd = PLAIN[:at] + value + PLAIN[at + len(value) :]
    assert np.array_equal(imagefile.read_pixels(odd, "x"), libjpeg(PLAIN))


def test_a_file_without_jfif_is_read() -> None:
    length = struct.unpack_from(">H", PLAIN, 4)[0]
    bare = PLAIN[:2] + PLAIN[4 + length :]
    assert np.array_equal(imagefile.read_pixels(bare, "x"), libjpeg(PLAIN))


@pytest.mark.parametrize(("transform", "said"), [(0, "rgb"), (1, "ycbcr"), (7, "ycbcr")])
def test_adobes_word_on_the_colours_counts_where_jfif_is_silent(transform: int, said: str) -> None:
    adobe = segment(0xEE, b"Adobe\0\x64" + bytes(4) + bytes([transform]))
    length = struct.unpack_from(">H", PLAIN, 4)[0]
    bare = PLAIN[:2] + adobe + PLAIN[4 + length :]
    read = imagefile.read_pixels(bare, "x")
    shown = libjpeg(PLAIN)
    assert np.array_equal(read, shown) == (said == "ycbcr")
    assert np.array_equal(imagefile.read_pixels(before(PLAIN, 0xDB, adobe), "x"), shown)


@pytest.mark.parametrize("padding", [b"\0" * 500, b"\xff" * 500, b"\0" * 3])
@pytest.mark.parametrize("content", [PLAIN, PROGRESSIVE])
def test_padding_after_the_pixels_harms_nothing(content: bytes, padding: bytes) -> None:
    padded = content[:-2] + padding + content[-2:]
    assert np.array_equal(imagefile.read_pixels(padded, "x"), libjpeg(content))


def test_bytes_after_the_end_harm_nothing() -> None:
    for after in (bytes(1000), PLAIN, b"\xff\xda"):
        assert np.array_equal(imagefile.read_pixels(PLAIN + after, "x"), libjpeg(PLAIN))


def middle(content: bytes) -> int:
    return (content.rindex(b"\xff\xda") + len(content)) // 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2] + b"\xff\xd9",
        lambda c: c[:-2],
        lambda c: c[:-60] + b"\xff\xd9",
        lambda c: c[: middle(c)] + c[middle(c) + 333 :],
        lambda c: c[: middle(c)] + bytes(100) + c[middle(c) + 100 :],
        lambda c: c[: middle(c)] + b"\xff\xd9" + c[middle(c) :],
        lambda c: c[:-2] + bytes(range(1, 200)) * 2 + c[-2:],
    ],
    ids=["half", "no end", "end early", "bytes lost", "zeros", "end inside", "left over"],
)
@pytest.mark.parametrize("content", [PLAIN, RESTARTS])
def test_lost_data_is_refused_whatever_the_header_is(content: bytes, damage: Any) -> None:
    damaged = damage(content)
    assert refusal(damaged)
    # libjpeg prints its first complaint only: an odd header must not hide the loss.
    adobe = segment(0xEE, b"Adobe\0\x64" + bytes(4) + b"\x07")
    assert refusal(before(damaged, 0xDB, adobe + b"junk"))
    assert refusal(damaged[:11] + b"\x09\x09" + damaged[13:])


def test_a_lost_restart_marker_is_refused() -> None:
    at = RESTARTS.index(b"\xff\xd3", RESTARTS.index(b"\xff\xda"))
    assert "corrupt" in refusal(RESTARTS[:at] + RESTARTS[at + 2 :])


def test_every_scan_of_a_progressive_file_is_needed() -> None:
    starts = [i for i in range(len(PROGRESSIVE)) if PROGRESSIVE[i : i + 2] == b"\xff\xda"]
    assert len(starts) == 10
    for start in starts[1:]:
        assert refusal(PROGRESSIVE[:start] + b"\xff\xd9").startswith(
            "cell 7: JPEG ends before its last scan; "
        )


def test_a_component_without_a_scan_is_refused() -> None:
    """A header of three components, whose only scan gives one."""
    grey = encoded(grey=True)
    at = grey.index(b"\xff\xc0")
    frame = grey[at + 4 : at + 9] + b"\x03\x01\x11\0\x02\x11\0\x03\x11\0"
    assert "last scan" in refusal(grey[:at] + segment(0xC0, frame) + grey[at + 13 :])


def frame_of(marker: int, precision: int, height: int, components: int) -> bytes:
    at = PLAIN.index(b"\xff\xc0")
    body = struct.pack(">BHHB", precision, height, 120, components)
    body += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return PLAIN[:at] + segment(marker, body) + PLAIN[at + 19 :]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (frame_of(0xC1, 12, 80, 3), "is a JPEG of 12 bits; save it as PNG"),
        (frame_of(0xC3, 8, 80, 3), "is a lossless JPEG; save it as PNG"),
        (frame_of(0xC5, 8, 80, 3), "is a hierarchical JPEG; save it as PNG"),
        (frame_of(0xC0, 8, 80, 4), "printing colours (CMYK); save it as RGB"),
        (frame_of(0xC0, 8, 80, 2), "JPEG has 2 channels; save it as RGB"),
        (frame_of(0xC0, 8, 0, 3), "says its height only at its end"),
        (frame_of(0xC0, 8, 65_000, 3), "corrupt"),
    ],
)
def test_kinds_that_are_not_read_are_named(content: bytes, finding: str) -> None:
    assert finding in refusal(content)


def test_scans_times_pixels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_SCAN_PIXELS", 10 * 80 * 120)
    assert imagefile.read_pixels(PROGRESSIVE, "x").shape == (80, 120, 3)
    monkeypatch.setattr(jpeg, "MAX_SCAN_PIXELS", 10 * 80 * 120 - 1)
    assert "draws its 9600 pixels 10 times" in refusal(PROGRESSIVE)
    assert imagefile.read_pixels(PLAIN, "x").shape == (80, 120, 3)


def test_coefficients_of_many_scans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """2 bytes per sample; chroma has a quarter of the samples."""
    monkeypatch.setattr(limits, "MAX_STORED", 28_800)
    assert imagefile.read_pixels(PROGRESSIVE, "x").shape == (80, 120, 3)
    monkeypatch.setattr(limits, "MAX_STORED", 28_799)
    assert "takes" in refusal(PROGRESSIVE)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\x01"])
def test_long_runs_of_marker_bytes_take_linear_time(filler: bytes) -> None:
    hostile = PLAIN[:2] + filler * 300_000
    assert refusal(hostile)


def test_turned_by_the_first_exif_segment_that_says_how() -> None:
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    content = before(before(PLAIN, 0xD8, segment(0xE1, EXIF)), 0xDB, segment(0xE1, turned))
    assert np.array_equal(decode(content), np.rot90(decode(PLAIN), -1))
