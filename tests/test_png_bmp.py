"""PNG and BMP of every kind that programs write, pixel by pixel, and damaged ones."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from foreign_images import bmp, png, png_chunk, waves

from qlvit_edge import imagefile
from qlvit_edge.errors import DataError
from qlvit_edge.preprocess import decode


def refusal(content: bytes) -> str:
    with pytest.raises(DataError, match="cell 7: ") as caught:
        imagefile.read(content, "cell 7")
    return str(caught.value)


def packed(values: list[int], bits: int) -> bytes:
    """A filtered row (filter 0) of samples."""
    ones = "".join(f"{value:0{bits}b}" for value in values)
    length = -(-len(ones) // 8)
    return b"\0" + int(ones.ljust(8 * length, "0"), 2).to_bytes(length, "big")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_greys_of_every_depth(bits: int) -> None:
    most = (1 << bits) - 1
    values = [0, most, most // 3, 1, 0]
    expected = [int(value * 255 / most + 0.5) for value in values]
    rows = packed(values, bits)
    assert decode(png((5, 1), bits, 0, rows))[0, :, 0].tolist() == expected
    see_through = png((5, 1), bits, 0, rows, png_chunk(b"tRNS", struct.pack(">H", most)))
    expected[1] = 255
    if bits == 1:
        expected[3] = 255
    assert decode(see_through)[0, :, 0].tolist() == expected
    first = png((5, 1), bits, 0, rows, png_chunk(b"tRNS", struct.pack(">H", 0)))
    assert decode(first)[0, [0, 4], 0].tolist() == [255, 255]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [b"", b"\0", b"\xff\x33"])
def test_palettes_of_png(bits: int, alpha: bytes) -> None:
    colours = [[200, 10, 30], [0, 100, 255]]
    extra = [png_chunk(b"PLTE", bytes(colours[0] + colours[1]))]
    extra += [png_chunk(b"tRNS", alpha)] if alpha else []
    shown = np.array(colours)
    for index, value in enumerate(alpha):
        shown[index] = (shown[index] * value + 255 * (255 - value) + 127) // 255
    content = png((3, 1), bits, 3, packed([0, 1, 1], bits), *extra)
    assert decode(content).tolist() == [shown[[0, 1, 1]].tolist()]
    assert "palette" in imagefile.read(content, "x").notes
    if bits > 1:
        outside = png((3, 1), bits, 3, packed([0, 1, 2], bits), *extra)
        assert "colours that its palette lacks" in refusal(outside)


def test_colours_of_16_bits_and_see_through_ones() -> None:
    rows = b"\0" + struct.pack(">6H", 1, 2, 3, 65535, 257, 0)
    assert decode(png((2, 1), 16, 2, rows)).tolist() == [[[0, 0, 0], [255, 1, 0]]]
    named = png_chunk(b"tRNS", struct.pack(">3H", 65535, 257, 0))
    assert decode(png((2, 1), 16, 2, rows, named)).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    grey = b"\0" + struct.pack(">4H", 65535, 13107, 0, 13107)
    assert decode(png((2, 1), 16, 4, grey)).tolist() == [[[255] * 3, [204] * 3]]


def test_words_about_brightness_change_nothing() -> None:
    rows = packed([0, 5, 128, 255], 8)
    plain = decode(png((4, 1), 8, 0, rows))
    for kind, body in (
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"sBIT", b"\4"),
        (b"bKGD", b"\0\7"),
        (b"sRGB", b"\0"),
        (b"iCCP", b"x\0\0damaged"),
        (b"tEXt", b"a\0b"),
        (b"pHYs", bytes(9)),
    ):
        assert np.array_equal(decode(png((4, 1), 8, 0, rows, png_chunk(kind, body))), plain)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 5), (16, 17)])
def test_interlaced_images(kind: Any, channels: int, size: tuple[int, int]) -> None:
    image = waves(size[1], size[0], channels, kind)
    rows = b""
    for left, top, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in image[top::down, left::across]:
            rows += b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() if len(row) else b""
    content = png(size, kind(0).itemsize * 8, {1: 0, 3: 2, 4: 6}[channels], rows, interlace=1)
    shown = imagefile.read_pixels(content, "x").reshape(image.shape)
    assert np.array_equal(shown[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]], image)
    assert "more data" in refusal(
        png(size, kind(0).itemsize * 8, {1: 0, 3: 2, 4: 6}[channels], rows + b"\0", interlace=1)
    )


GREY = zlib.compress(packed([1, 2, 3, 4], 8) * 3)


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (GREY[:-4], "truncated or corrupt"),
        (GREY[:-1] + bytes([GREY[-1] ^ 1]), "incorrect data check"),
        (GREY[:8], "truncated or corrupt"),
        (b"", "truncated or corrupt"),
        (zlib.compress(packed([1, 2, 3, 4], 8) * 2), "truncated or corrupt"),
        (zlib.compress(packed([1, 2, 3, 4], 8) * 4), "more data than its size needs"),
        (zlib.compress(bytes(50_000_000)), "more data than its size needs"),
        (zlib.compress(b"\x07" + bytes(14)), "truncated or corrupt"),
        (b"not zlib", "corrupt"),
    ],
)
def test_data_that_does_not_inflate_to_the_pixels_is_refused(data: bytes, finding: str) -> None:
    """All chunks' own checksums are right."""
    assert finding in refusal(png((4, 3), 8, 0, b"", data=data))


def test_data_in_many_chunks_is_read() -> None:
    parts = [png_chunk(b"IDAT", GREY[index : index + 1]) for index in range(len(GREY))]
    content = png((4, 3), 8, 0, b"", *parts, data=b"")
    assert decode(content)[:, :, 0].tolist() == [[1, 2, 3, 4]] * 3


def test_too_many_chunks_are_refused() -> None:
    content = png((4, 3), 8, 0, b"", png_chunk(b"IDAT", b"") * 100_001, data=GREY)
    assert "more than 100000 parts" in refusal(content)


def test_animations_are_refused() -> None:
    control = png_chunk(b"acTL", struct.pack(">II", 3, 0))
    assert "animated: 3 pictures" in refusal(png((4, 3), 8, 0, b"", control, data=GREY))


@pytest.mark.parametrize(
    ("bits", "colour"), [(3, 0), (16, 3), (4, 2), (8, 1), (8, 5), (1, 6), (8, 7)]
)
def test_headers_that_png_has_not_are_refused(bits: int, colour: int) -> None:
    assert "header is damaged" in refusal(png((4, 3), bits, colour, b"", data=GREY))


def test_missing_parts_are_named() -> None:
    assert "lacks its palette" in refusal(png((4, 3), 8, 3, b"", data=GREY))
    whole = png((4, 3), 8, 0, b"", data=GREY)
    start, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    assert "no image data" in refusal(whole[:start] + whole[end:])


PALETTE = png_chunk(b"PLTE", bytes(range(255)))
CLEAR = png_chunk(b"tRNS", bytes(85))


@pytest.mark.parametrize(
    "parts",
    [
        (PALETTE, PALETTE),
        (PALETTE, CLEAR, CLEAR),
        (CLEAR, PALETTE),
        ("", PALETTE),
        (PALETTE, "", CLEAR),
    ],
    ids=["palette twice", "clear twice", "clear first", "palette late", "clear late"],
)
def test_programs_disagree_on_misplaced_palettes_so_they_are_refused(parts: tuple[Any]) -> None:
    content = png((4, 3), 8, 3, b"", *[part for part in parts if part], data=GREY)
    if "" in parts:  # the last part comes after the pixels
        late = parts[-1]
        content = content.replace(late, b"")[:-12] + late + content[-12:]
    assert "is out of place" in refusal(content)


# ---- BMP

RED, BLUE = [255, 0, 0], [0, 0, 255]


@pytest.mark.parametrize("header", [12, 40, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes_of_bmp(header: int, bits: int) -> None:
    entry = 3 if header == 12 else 4
    palette = b"".join(
        bytes([*colour[::-1], 0][:entry]) for colour in ([RED, BLUE] * 128)[: 1 << bits]
    )
    row = packed([1, 0, 1], bits)[1:].ljust(4, b"\0")
    other = packed([0, 0, 1], bits)[1:].ljust(4, b"\0")
    content = bmp((3, 2), bits, row + other, header=header, palette=palette)
    assert decode(content).tolist() == [[RED, RED, BLUE], [BLUE, RED, BLUE]]
    if header != 12:
        from_top = bmp((3, -2), bits, row + other, header=header, palette=palette)
        assert decode(from_top).tolist() == [[BLUE, RED, BLUE], [RED, RED, BLUE]]
        short = bmp((3, 2), bits, row + other, header=header, palette=palette[:4])
        assert "colours that its palette lacks" in refusal(short)


@pytest.mark.parametrize("header", [12, 40, 124])
def test_true_colour_of_bmp(header: int) -> None:
    image = waves(5, 7, 3, np.uint8)
    rows = b"".join(row[:, ::-1].tobytes().ljust(24, b"\0") for row in image[::-1])
    assert np.array_equal(decode(bmp((7, 5), 24, rows, header=header)), image)


def test_masks_of_16_bits() -> None:
    five = bmp((2, 1), 16, struct.pack("<2H", 0x7C00 | 1, 16 << 5))
    assert decode(five).tolist() == [[[255, 0, 8], [0, 132, 0]]]
    six = bmp((2, 1), 16, struct.pack("<2H", 0xF800 | 1, 32 << 5), compression=3,
              masks=(0xF800, 0x7E0, 0x1F))  # fmt: skip
    assert decode(six).tolist() == [[[255, 0, 8], [0, 130, 0]]]


def test_the_fourth_byte_of_32_bits_counts_where_the_header_says_so() -> None:
    row = bytes([30, 20, 10, 0, 0, 0, 0, 51])
    assert decode(bmp((2, 1), 32, row)).tolist() == [[[10, 20, 30], [0, 0, 0]]]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    announced = bmp((2, 1), 32, row, header=124, compression=3)
    announced = announced[:54] + struct.pack("<4I", *masks) + announced[70:]
    assert decode(announced).tolist() == [[[255, 255, 255], [204, 204, 204]]]
    empty = announced[:-1] + b"\0"  # programs that announce alpha and leave it empty
    assert decode(empty).tolist() == [[[10, 20, 30], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (bmp((4, 4), 8, bytes(9), compression=1), "BMP is compressed (RLE8); save it as PNG"),
        (bmp((4, 4), 4, bytes(9), compression=2), "BMP is compressed (RLE4); save it as PNG"),
        (bmp((4, 4), 24, bytes(9), compression=4), "BMP is compressed (JPEG); save it as PNG"),
        (bmp((4, 4), 2, bytes(90)), "BMP has 2 bits per pixel"),
        (bmp((4, 4), 24, bytes(47)), "BMP image is truncated"),
        (bmp((4, 0), 24, b""), "without pixels"),
        (bmp((30_000, 30_000), 24, b""), "claims 30000x30000 pixels"),
        (bmp((4, 4), 24, bytes(48), header=99), "header is damaged"),
        (bmp((-4, 4), 24, bytes(48)), "header is damaged"),
        *(
            (bmp((2, 1), bits, bytes(8), compression=3, masks=masks), "its colour masks")
            for bits, masks in [
                (32, (0, 0, 0)),
                (32, (0xF0F00, 0xFF, 0xFF000000)),
                (32, (0xFF00, 0xFF00, 0xFF)),
                (16, (0x1F0000, 0x7E0, 0x1F)),
            ]
        ),
    ],
)
def test_bmps_that_are_not_read_are_named(content: bytes, finding: str) -> None:
    assert finding in refusal(content)


@pytest.mark.parametrize("channels", [1, 3])
def test_opencv_agrees_on_plain_bmp(channels: int) -> None:
    image = np.squeeze(waves(30, 41, channels, np.uint8))
    content = cv2.imencode(".bmp", image)[1].tobytes()
    assert np.array_equal(imagefile.read_pixels(content, "x"), image)


# ---- others


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("WebP", b"RIFF\x10\0\0\0WEBPVP8 "),
        ("GIF", b"GIF89a"),
        ("HEIC", b"\0\0\0\x18ftypheic"),
        ("AVIF", b"\0\0\0\x1cftypavif"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("JPEG XL", b"\xff\x0a\xfa"),
        ("Photoshop", b"8BPS\0\1"),
        ("PNM", b"P6\n2 2\n255\n"),
    ],
)
def test_other_images_under_a_familiar_name_are_refused_by_what_they_are(
    kind: str, head: bytes
) -> None:
    assert f"is really an image of another format ({kind}); convert it" in refusal(head + bytes(40))
    assert "not a JPEG, PNG, BMP or TIFF image" in refusal(b"x" + head)


def test_a_bmp_whose_pixels_begin_beyond_its_end_is_refused() -> None:
    content = bytearray(cv2.imencode(".bmp", np.zeros((4, 6), np.uint8))[1].tobytes())
    struct.pack_into("<I", content, 10, 60_000)
    del content[80:]
    assert "truncated" in refusal(bytes(content))
