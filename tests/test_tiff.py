"""TIFF as labs have it: the right pixels, or refused by what it is, with and without the extra."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from foreign_images import plain_tiff, segment, tiff, waves
from numpy.typing import NDArray

from qlvit_edge import imagefile
from qlvit_edge.errors import DataError
from qlvit_edge.imagefile import tiff_codecs
from qlvit_edge.imagefile.tiff_codecs import DamagedError, unpack_lzw, unpack_packbits
from qlvit_edge.preprocess import decode

imagecodecs = pytest.importorskip("imagecodecs", reason="of the extra tiff")

RGB = {"photometric": "rgb"}


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the extra were not installed."""
    monkeypatch.setattr(tiff_codecs, "_extra_has", lambda codec: False)


@pytest.fixture(params=["base", "extra"])
def either(request: pytest.FixtureRequest) -> str:
    """Both installations, side by side."""
    if request.param == "base":
        request.getfixturevalue("base")
    return str(request.param)


def stored(content: bytes) -> NDArray[Any]:
    """The pixels of a file, red first."""
    pixels = imagefile.read_pixels(content, "cell 7")
    return pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]


def refusal(content: bytes) -> str:
    with pytest.raises(DataError, match="cell 7: ") as caught:
        imagefile.read(content, "cell 7")
    return str(caught.value)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("method", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("tile", [None, (32, 16)])
def test_layouts_give_their_pixels(
    either: str, kind: type[np.unsignedinteger[Any]], method: str | None, tile: Any
) -> None:
    image = waves(45, 70, 4, kind)
    where = {"tile": tile} if tile else {"rowsperstrip": 7}
    for order in "<>":
        for predictor in {False, method not in (None, "packbits")}:
            options = {"compression": method, "predictor": predictor, "byteorder": order, **where}
            grey = tiff(image[..., 0], photometric="minisblack", **options)
            assert np.array_equal(stored(grey), image[..., 0])
            for planar in ("contig", "separate"):
                for channels in (3, 4):
                    pixels = image[..., :channels]
                    shown = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
                    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
                    content = tiff(shown, planarconfig=planar, **RGB, **alpha, **options)
                    assert np.array_equal(stored(content), pixels), (order, predictor, planar)


def test_planar_images_decode_alike_whatever_was_decoded_before(base: None) -> None:
    planar = tiff(
        waves(96, 96, 3, np.uint16).transpose(2, 0, 1),
        planarconfig="separate",
        compression="lzw",
        **RGB,
    )
    other = tiff(np.full((96, 96, 3), 51400, np.uint16), **RGB)
    first = decode(planar)
    decode(other)
    assert np.array_equal(decode(planar), first)
    assert np.array_equal(first, (waves(96, 96, 3, np.uint16).astype(int) * 2 + 257) // 514)


@pytest.mark.parametrize("method", [None, "lzma", "zstd"])
def test_big_tiff_is_read(method: str | None) -> None:
    image = waves(30, 40, 3, np.uint8)
    for order in "<>":
        content = tiff(image, bigtiff=True, byteorder=order, compression=method, **RGB)
        assert np.array_equal(stored(content), image)


@pytest.mark.parametrize("method", ["zstd", "jpeg2000", "lerc"])
def test_methods_of_the_extra(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = waves(64, 48, 3, np.uint8)
    deep = waves(64, 48, 1, np.uint16)[..., 0]
    for pixels, meaning in ((image, "rgb"), (deep, "minisblack")):
        content = tiff(pixels, compression=method, photometric=meaning, tile=(32, 32))
        assert np.array_equal(stored(content), pixels)
        with monkeypatch.context() as without:
            without.setattr(tiff_codecs, "_extra_has", lambda codec: False)
            assert "pip install 'qlvit-edge[tiff]'" in refusal(content)


@pytest.mark.parametrize("method", ["lzw", "packbits"])
def test_slow_readers_leave_large_images_to_the_extra(base: None, method: str) -> None:
    content = tiff(np.zeros((4100, 4000), np.uint8), compression=method, rowsperstrip=1000)
    assert refusal(content).endswith(
        "slow to read; pip install 'qlvit-edge[tiff]', or save it uncompressed"
    )


@pytest.mark.parametrize("meaning", ["rgb", "ycbcr"])
@pytest.mark.parametrize("tile", [None, (32, 32)])
def test_jpeg_inside(base: None, meaning: str, tile: Any) -> None:
    image = waves(64, 96, 3, np.uint8)
    content = tiff(image, compression="jpeg", photometric=meaning, tile=tile)
    assert np.abs(stored(content).astype(int) - tifffile_reads(content)).max() <= 1


@pytest.mark.parametrize("meaning", [2, 6])
def test_the_tag_says_which_colours_the_jpeg_inside_holds(base: None, meaning: int) -> None:
    """Without a word of its own, libjpeg would take both for YCbCr."""
    image = waves(64, 48, 3, np.uint8)
    options = {"level": 100, "subsampling": "444"}
    if meaning == 2:
        options["outcolorspace"] = "rgb"
    stream = imagecodecs.jpeg8_encode(image, colorspace="rgb", **options)
    adobe = stream.find(b"\xff\xee")
    if adobe > 0:  # the file's own word is left out
        length = struct.unpack_from(">H", stream, adobe + 2)[0]
        stream = stream[:adobe] + stream[adobe + 2 + length :]
    entries = tags((48, 64), 8, meaning, t277=3, t258=(8, 8, 8), t259=7)
    assert np.abs(stored(plain_tiff(stream, entries)).astype(int) - image).max() <= 4


def test_a_jpeg_inside_is_turned_by_the_tiff_alone(base: None) -> None:
    image = waves(48, 48, 3, np.uint8)
    stream = imagecodecs.jpeg8_encode(image, level=100, subsampling="444")
    turned = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, 6, 0)
    exif = segment(0xE1, b"Exif\0\0" + turned)
    content = plain_tiff(
        stream[:2] + exif + stream[2:], tags((48, 48), 8, 6, t277=3, t258=(8, 8, 8), t259=7)
    )
    assert np.abs(stored(content).astype(int) - image).max() <= 4


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_jpeg_2000_of_a_cameras_bits(bits: int) -> None:
    image = waves(40, 30, 1, np.uint16)[..., 0] >> (16 - bits)
    stream = imagecodecs.jpeg2k_encode(image, level=0, reversible=True, bitspersample=bits)
    content = plain_tiff(stream, tags((30, 40), bits, 1, t259=34712))
    most = (1 << bits) - 1
    right = image if bits == 16 else (image.astype(int) * 510 + most) // (2 * most)
    assert np.array_equal(stored(content), right)
    if bits == 12:
        fewer = plain_tiff(stream, tags((30, 40), 10, 1, t259=34712))
        assert "values of more than 10 bits" in refusal(fewer)


@pytest.mark.parametrize("surplus", [1, 3])
def test_uncompressed_strips_may_be_filled_up(surplus: int) -> None:
    image = waves(7, 9, 1, np.uint8)[..., 0]
    content = plain_tiff(image.tobytes() + bytes(surplus), tags((9, 7), 8, 1))
    assert np.array_equal(stored(content), image)


def tifffile_reads(content: bytes) -> NDArray[np.int64]:
    return np.asarray(tifffile.imread(io.BytesIO(content))).astype(np.int64)


def tags(size: tuple[int, int], bits: int, meaning: int, **more: Any) -> dict[int, Any]:
    """Tags of a plain page of one strip, ``size`` = (width, height)."""
    found = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: meaning, 277: 1, 278: size[1]}
    return found | {int(tag.removeprefix("t")): value for tag, value in more.items()}


def packed(values: list[int], bits: int) -> bytes:
    """A row of samples without gaps, filled up to a whole byte."""
    ones = "".join(f"{value:0{bits}b}" for value in values)
    length = -(-len(ones) // 8)
    return int(ones.ljust(8 * length, "0"), 2).to_bytes(length, "big")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_white_may_be_zero(bits: int, order: str) -> None:
    most = (1 << bits) - 1
    values = [0, most, most // 3, most, 0]
    row = struct.pack(f"{order}5H", *values) if bits == 16 else packed(values, bits)
    scale = 65535 if bits == 16 else 255
    grey = [value * scale // most for value in values]
    black = plain_tiff(row * 2, tags((5, 2), bits, 1), order=order)
    white = plain_tiff(row * 2, tags((5, 2), bits, 0), order=order)
    assert stored(black).tolist() == [grey] * 2
    assert stored(white).tolist() == [[scale - value for value in grey]] * 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("factor", [1, 256, 257])  # what writers fill of 16 bits
def test_palettes(bits: int, factor: int) -> None:
    colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
    colours[0] = 255
    indices = [0, (1 << bits) - 1, 1, 0, 1]
    row = packed(indices, bits)
    table = tuple(int(value) for value in (colours.T * factor).ravel())
    content = plain_tiff(row, tags((5, 1), bits, 3, t320=table))
    assert decode(content).tolist() == [colours[indices].tolist()]
    assert imagefile.read(content, "x").notes == ("palette",)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_of_cameras_are_scaled_by_what_the_file_says(bits: int) -> None:
    most = (1 << bits) - 1
    values = [0, most, most // 2, 5, 1000, 1]
    row = packed(values, bits)
    content = plain_tiff(row, tags((6, 1), bits, 1))
    assert decode(content)[0, :, 0].tolist() == [int(v * 255 / most + 0.5) for v in values]
    assert imagefile.read(content, "x").notes == (f"{bits} bit",)


def test_bits_may_be_stored_from_the_least_significant() -> None:
    content = plain_tiff(b"\x05\x02", tags((4, 2), 1, 1, t266=2))
    assert stored(content).tolist() == [[255, 0, 255, 0], [0, 255, 0, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_is_laid_over_white_whether_multiplied_or_not(kind: Any) -> None:
    white = int(np.iinfo(kind).max)
    straight = np.array([[[white, 0, 0, white // 5], [9, 9, 9, 0]]], kind)
    multiplied = np.array([[[white // 5, 0, 0, white // 5], [0, 0, 0, 0]]], kind)
    shown = [
        decode(tiff(pixels, extrasamples=[alpha], **RGB)).tolist()
        for pixels, alpha in ((straight, "unassalpha"), (multiplied, "assocalpha"))
    ]
    assert shown[0] == shown[1] == [[[255, 204, 204], [255, 255, 255]]]
    grey = tiff(
        np.array([[[0, white // 5], [7, 0]]], kind),
        photometric="minisblack",
        extrasamples=["unassalpha"],
        planarconfig="contig",
    )
    assert decode(grey).tolist() == [[[204] * 3, [255] * 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_the_image(orientation: int) -> None:
    image = waves(6, 9, 3, np.uint8)
    content = tiff(image, extratags=[(274, 3, 1, orientation, True)], **RGB)
    turned = [
        image,
        image[:, ::-1],
        image[::-1, ::-1],
        image[::-1],
        image.swapaxes(0, 1),
        image.swapaxes(0, 1)[:, ::-1],
        image.swapaxes(0, 1)[::-1, ::-1],
        image.swapaxes(0, 1)[::-1],
    ]
    assert np.array_equal(stored(content), turned[orientation - 1])


FLAT = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("make", "finding"),
    [
        (lambda: tiff(np.zeros((5, 8, 8), np.uint8), photometric="minisblack"), "stack of 5 pages"),
        (
            lambda: tiff(FLAT, description="ImageJ=1.54f\nimages=5\nslices=5\n", metadata=None),
            "stack of 5 pictures in one page",
        ),
        (
            lambda: tiff(FLAT, description='{"shape": [3, 8, 8]}', metadata=None),
            "stack of 3 pictures in one page",
        ),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t32997=16)), "stack of 16 pictures"),
        (lambda: tiff(waves(8, 8, 4, np.uint8), extrasamples=["unspecified"], **RGB), "4 channels"),
        (lambda: plain_tiff(bytes(4), tags((1, 1), 8, 2, t277=4, t258=(8,) * 4)), "4 channels"),
        (lambda: tiff(waves(8, 8, 5, np.uint8), extrasamples=["unassalpha", 0], **RGB), "5 chann"),
        (
            lambda: tiff(waves(8, 8, 3, np.uint8), photometric="minisblack", planarconfig="contig"),
            "3 channels",
        ),
        (
            lambda: tiff(waves(8, 8, 2, np.uint8), photometric="minisblack", planarconfig="contig"),
            "2 channels",
        ),
        (lambda: tiff(waves(8, 8, 4, np.uint8), photometric="separated"), "CMYK"),
        (lambda: tiff(waves(8, 8, 3, np.uint8), photometric="cielab"), "L*a*b*"),
        (lambda: tiff(FLAT.astype(np.float32)), "floating-point numbers of 32 bits"),
        (lambda: tiff(FLAT.astype(np.int16)), "signed numbers of 16 bits"),
        (lambda: tiff(FLAT.astype(np.uint32)), "32 bits"),
        (lambda: plain_tiff(bytes(8), tags((8, 8), 1, 0, t259=4)), "CCITT group 4"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t259=6)), "old-style JPEG"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t259=50001)), "WebP"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t259=777)), "method 777"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 32803)), "raw mosaic"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t254=1)), "only a reduced copy"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 3)), "lacks its palette"),
        (lambda: plain_tiff(bytes(64), tags((8, 8), 8, 1, t278=4)), "not say where all"),
        (lambda: plain_tiff(bytes(68), tags((8, 8), 8, 1)), "65 bytes for 64"),
        (
            lambda: plain_tiff(
                [bytes(64)] * 3, tags((8, 8), 8, 6, t277=3, t258=(8, 8, 8), t259=7, t284=2)
            ),
            "YCbCr with each channel by itself",
        ),
        (lambda: plain_tiff(bytes(96), tags((8, 8), 12, 1, t259=5, t317=2)), "predictor 2 of 12"),
    ],
)
def test_what_is_not_read_is_refused_by_what_it_is(
    either: str, make: Callable[[], bytes], finding: str
) -> None:
    said = refusal(make())
    assert finding in said
    assert "; save it" in said or "; save the picture" in said or "; replace" in said


def test_reduced_copies_beside_the_page_are_passed_over_and_said() -> None:
    file = io.BytesIO()
    image = waves(40, 40, 3, np.uint8)
    with tifffile.TiffWriter(file) as writer:
        writer.write(image, metadata=None, **RGB)
        writer.write(image[::4, ::4], subfiletype=1, metadata=None, **RGB)
    read = imagefile.read(file.getvalue(), "x")
    assert np.array_equal(read.pixels[..., ::-1], image)
    assert read.notes == ("page 1 of 2 (others: reduced copies)",)


def test_pages_that_run_in_a_circle_end() -> None:
    content = bytearray(tiff(FLAT, metadata=None))
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * count, first)
    second = bytes(content)
    with pytest.raises(DataError, match="circle"):
        imagefile.read(second, "x")


@pytest.mark.parametrize("method", [8, 32946])
def test_every_flipped_byte_of_deflate_is_found(either: str, method: int) -> None:
    image = waves(40, 50, 3, np.uint8)
    strips = [zlib.compress(image[top : top + 10].tobytes()) for top in range(0, 40, 10)]
    entries = tags((50, 40), 8, 2, t277=3, t258=(8, 8, 8), t259=method, t278=10)
    assert np.array_equal(stored(plain_tiff(strips, entries)), image)
    random, refused = np.random.default_rng(0), 0
    for index in range(4):
        for place in random.integers(0, len(strips[index]), 30):
            damaged = bytearray(strips[index])
            damaged[place] ^= 1 << random.integers(8)
            broken = plain_tiff([*strips[:index], bytes(damaged), *strips[index + 1 :]], entries)
            said = ""
            try:
                pixels = stored(broken)
            except DataError as error:
                said, refused = str(error), refused + 1
            # A few bits mean nothing: those that fill the last byte up.
            assert f"strip or tile {index + 1} (deflate)" in said or np.array_equal(pixels, image)
    assert refused > 110


@pytest.mark.parametrize("method", ["zlib", "lzw", "packbits", "lzma", "zstd", "jpeg2000", "jpeg"])
@pytest.mark.parametrize("lost", [1, 40, 400])
def test_cut_strips_and_files_are_refused(method: str, lost: int) -> None:
    image = waves(64, 64, 3, np.uint8)
    content = tiff(image, compression=method, rowsperstrip=64, metadata=None, **RGB)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[0], page.databytecounts[0]
        place = page.tags["StripByteCounts"].valueoffset
        code = "<I" if page.tags["StripByteCounts"].dtype == 4 else "<H"
    assert lost < length
    cut_file = content[: start + length - lost] if start + length == len(content) else None
    shorter = bytearray(content)
    struct.pack_into(code, shorter, place, length - lost)
    if (method, lost) == ("lzw", 1):  # the end code alone
        assert np.array_equal(stored(bytes(shorter)), image)
    else:
        assert re.search("strip|JPEG", refusal(bytes(shorter)))
    if cut_file is not None:
        assert "it is cut" in refusal(cut_file)


@pytest.mark.parametrize("length", [0, 1, 253, 254, 255, 256, 700, 5000, 60_000])
@pytest.mark.parametrize("values", [1, 2, 4, 256])
def test_own_readers_agree_with_those_of_the_extra(length: int, values: int) -> None:
    data = np.random.default_rng(length).integers(0, values, length, dtype=np.uint8).tobytes()
    if length:
        assert unpack_lzw(imagecodecs.lzw_encode(data), length + 1) == data
    assert unpack_packbits(imagecodecs.packbits_encode(data), length + 1) == data


def test_random_bytes_never_escape_the_own_readers() -> None:
    random = np.random.default_rng(5)
    for _ in range(300):
        data = random.integers(0, 256, random.integers(0, 400), dtype=np.uint8).tobytes()
        for unpack, given in ((unpack_lzw, b"\x80" + data), (unpack_packbits, data)):
            with contextlib.suppress(DamagedError):
                assert len(unpack(given, 5000)) <= 5000


def test_random_damage_gives_the_pixels_or_an_error(either: str) -> None:
    random = np.random.default_rng(11)
    image = waves(40, 50, 3, np.uint8)
    for method in (None, "zlib", "lzw", "packbits", "zstd", "jpeg2000", "lerc", "jpeg"):
        content = tiff(image, compression=method, tile=(16, 16), **RGB)
        for _ in range(40):
            damaged = bytearray(content)
            for place in random.integers(0, 600, 2):
                damaged[place] = random.integers(256)
            try:
                pixels = imagefile.read_pixels(bytes(damaged), "x")
            except DataError:
                continue
            assert pixels.size < 10_000_000


def test_strips_that_unpack_to_more_are_refused(either: str) -> None:
    entries = tags((8, 8), 8, 1, t259=8)
    assert "65 bytes for 64" in refusal(plain_tiff(zlib.compress(bytes(70)), entries))
    assert "63 bytes for 64" in refusal(plain_tiff(zlib.compress(bytes(63)), entries))


def test_a_bomb_of_large_tiles_is_refused_before_it_unpacks() -> None:
    entries = tags((10, 10), 8, 1, t259=8) | {322: 65_000, 323: 65_000, 324: 8, 325: 20}
    assert "takes 4225 MB" in refusal(plain_tiff(b"x", entries))


@pytest.mark.parametrize("method", ["jpeg2000", "jpeg"])
def test_a_tile_that_claims_more_than_its_place_is_refused(method: str) -> None:
    large = tiff(waves(512, 512, 3, np.uint8), compression=method, rowsperstrip=512, **RGB)
    with tifffile.TiffFile(io.BytesIO(large)) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[0], page.databytecounts[0]
        number = int(page.compression)
    for size in ((8, 8), (8, 512), (512, 8)) if method == "jpeg" else ((8, 8),):
        entries = tags(size, 8, 2, t277=3, t258=(8, 8, 8), t259=number)
        said = refusal(plain_tiff(large[start : start + length], entries))
        assert "claims 512x512 pixels" in said


@pytest.mark.parametrize("place", ["first directory", "next directory", "values"])
def test_offsets_of_64_bits_that_point_nowhere_are_refused(place: str) -> None:
    content = bytearray(tiff(np.zeros((8, 8), np.uint8), bigtiff=True))
    (start,) = struct.unpack_from("<Q", content, 8)
    (count,) = struct.unpack_from("<Q", content, start)
    at = {"first directory": 8, "next directory": start + 8 + 20 * count}
    if place == "values":  # of a tag with more numbers than have room in its entry
        content[start + 8 + 2 : start + 8 + 20] = struct.pack("<HQQ", 3, 9, 2**63 + 5)
    else:
        struct.pack_into("<Q", content, at[place], 2**63 + 5)
    with pytest.raises(DataError, match="truncated"):
        imagefile.read_pixels(bytes(content), "x.tif")
