"""How a TIFF page lays its pixels out, read from its tags; what is not read is refused here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qlvit_edge.errors import DataError
from qlvit_edge.imagefile.limits import REPLACE, require_bytes, require_parts, require_size
from qlvit_edge.imagefile.tiff_codecs import JPEG, PACKBITS, RAW
from qlvit_edge.imagefile.tiff_directory import ORIENTATION, Directory, directories
from qlvit_edge.reading import parse_json

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRIC = {
    4: "a mask",
    5: "printing colours (CMYK)",
    8: "CIE L*a*b* colours",
    9: "ICC L*a*b* colours",
    10: "ITU L*a*b* colours",
    32803: "a sensor's raw mosaic",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a sensor's raw values",
}
_FORMATS = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
_PARTS = "save the picture to be used as its own file"
_AS_RGB = "save it as grey or RGB"
_EIGHT = "save it with 8 or 16 bits per sample"


@dataclass(frozen=True)
class Layout:
    """One page.

    Attributes:
        order: ``"<"`` or ``">"``, of samples of 16 bits.
        width: pixels.
        height: pixels.
        samples: channels, all together.
        bits: of a sample, 1 to 16.
        compression: see `qlvit_edge.imagefile.tiff_codecs`.
        photometric: what the first channels mean.
        alpha: 0 without alpha, 1 where the colours are multiplied by it, 2 where not.
        planar: whether each channel is stored by itself.
        differenced: whether samples are stored as differences along the row.
        reversed_bits: whether a byte's least significant bit comes first.
        tile: (width, height) of a tile; of a strip, which is as wide as the image.
        tiled: whether the parts are tiles, stored whole at the edges too.
        offsets: where each strip or tile begins.
        counts: its bytes.
        palette: red, green and blue of every colour, 16 bits each.
        jpeg_tables: what the JPEG streams of the page share.
        orientation: 1 (upright) to 8.
        note: which page it is, where there are others.
    """

    order: str
    width: int
    height: int
    samples: int
    bits: int
    compression: int
    photometric: int
    alpha: int
    planar: bool
    differenced: bool
    reversed_bits: bool
    tile: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    palette: tuple[int, ...]
    jpeg_tables: bytes
    orientation: int
    note: str

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of strips or tiles."""
        return -(-self.height // self.tile[1]), -(-self.width // self.tile[0])

    @property
    def channels(self) -> int:
        """Channels in one strip or tile."""
        return 1 if self.planar else self.samples

    def row_bytes(self, width: int) -> int:
        """Bytes of so many pixels of a strip's or tile's row."""
        return (width * self.channels * self.bits + 7) // 8


def read_layout(content: bytes, name: str) -> Layout:
    """Find the one page of pixels and read its tags.

    Raises:
        DataError: several pages, too large, or of a kind that is not read.
        struct.error: the file ends before.
    """
    page, note = _one_page(content, name)
    width, height = page.value(256, 0), page.value(257, 0)
    samples = page.value(277, 1)
    bits = _bits(page, samples, name)
    require_size("TIFF", width, height, samples * (1 if bits <= 8 else 2), name)
    _refuse_hidden_planes(page, width * height * samples, name)
    photometric, alpha = _meaning(page, samples, name)
    compression = page.value(259, RAW)
    predictor = page.value(317, 1)
    if compression in (RAW, PACKBITS, JPEG):
        predictor = 1  # these methods have none (libtiff ignores the tag too)
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise DataError(name, f"TIFF has predictor {predictor} of {bits} bits", "save it again")
    tiled = bool(page.values(322))
    tile = (page.value(322, 0), page.value(323, 0))
    if not tiled:
        tile = (width, min(page.value(278, height), height))
    layout = Layout(
        order=page.order,
        width=width,
        height=height,
        samples=samples,
        bits=bits,
        compression=compression,
        photometric=photometric,
        alpha=alpha,
        planar=page.value(284, 1) == 2 and samples > 1,
        differenced=predictor == 2,
        reversed_bits=page.value(266, 1) == 2,
        tile=tile,
        tiled=tiled,
        offsets=page.values(324 if tiled else 273),
        counts=page.values(325 if tiled else 279),
        palette=page.values(320),
        jpeg_tables=page.raw(347),
        orientation=page.value(ORIENTATION, 1),
        note=note,
    )
    _check(layout, name)
    return layout


def _one_page(content: bytes, name: str) -> tuple[Directory, str]:
    """Return the page that is a picture; reduced copies beside it are passed over and said."""
    pages = directories(content, name)
    whole = [page for page in pages if not page.value(254, 0) & 1 and page.value(255, 1) != 2]
    if not whole:
        raise DataError(name, "TIFF holds only a reduced copy of its picture", _PARTS)
    if len(whole) > 1:
        raise DataError(name, f"TIFF is a stack of {len(whole)} pages", _PARTS)
    if len(pages) == 1:
        return whole[0], ""
    number = pages.index(whole[0]) + 1
    return whole[0], f"page {number} of {len(pages)} (others: reduced copies)"


def _refuse_hidden_planes(page: Directory, samples: int, name: str) -> None:
    """Refuse stacks that have one directory: ImageJ and tifffile say their size in words."""
    words = page.raw(270)[:4096].rstrip(b"\0").decode("utf-8", "replace")
    planes = 1
    if words.startswith("ImageJ=") and (found := re.search(r"^images=(\d{1,9})\s*$", words, re.M)):
        planes = int(found.group(1))
    elif words.startswith('{"shape"'):
        try:
            shape = parse_json(words.encode())["shape"]
            planes = math.prod(map(int, shape)) // samples
        except (ValueError, KeyError, TypeError):  # not such JSON: no words about planes
            planes = 1
    planes = max(planes, page.value(32997, 1))
    if planes > 1:
        raise DataError(name, f"TIFF is a stack of {planes} pictures in one page", _PARTS)


def _bits(page: Directory, samples: int, name: str) -> int:
    every = page.values(258) or (1,)
    formats = set(page.values(339)) - {1, 4}
    if formats:
        kind = _FORMATS.get(min(formats), "unknown")
        raise DataError(name, f"TIFF pixels are {kind} numbers of {every[0]} bits", _EIGHT)
    if samples < 1 or len(set(every)) > 1 or len(every) not in (1, samples):
        raise DataError(name, "TIFF channels differ in their bits", _EIGHT)
    if not 1 <= every[0] <= 16:
        raise DataError(name, f"TIFF pixels have {every[0]} bits", _EIGHT)
    return every[0]


def _meaning(page: Directory, samples: int, name: str) -> tuple[int, int]:
    """Return (photometric, alpha); refuse channels whose meaning is not said."""
    photometric = page.value(262, -1)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        what = _PHOTOMETRIC.get(photometric, "pixels of an unknown meaning")
        raise DataError(name, f"TIFF holds {what}", _AS_RGB)
    if photometric == YCBCR and page.value(259, RAW) != JPEG:
        raise DataError(name, "TIFF holds YCbCr that is not JPEG", _AS_RGB)
    colours = 3 if photometric in (RGB, YCBCR) else 1
    extra = page.values(338)
    if samples == colours:
        return photometric, 0
    if samples == colours + 1 and photometric != PALETTE and extra[:1] in ((1,), (2,)):
        return photometric, extra[0]
    what = f"TIFF has {samples} channels"
    if samples > colours:
        others = "the last is" if samples == colours + 1 else f"the last {samples - colours} are"
        what += f" and does not say what {others} (alpha or something else)"
    raise DataError(name, what, "save it as grey or RGB, with alpha as PNG")


def _check(layout: Layout, name: str) -> None:
    """Refuse layouts that do not add up or take more than the limits."""
    across, down = layout.tile
    if across < 1 or down < 1:
        raise DataError(name, "TIFF has strips or tiles without pixels", REPLACE)
    rows, columns = layout.grid
    parts = rows * columns * (layout.samples if layout.planar else 1)
    require_parts(parts, name)
    if not layout.counts or len(layout.offsets) < parts or len(layout.counts) < parts:
        raise DataError(name, "TIFF does not say where all of its pixels are", REPLACE)
    unpacked = parts * down * layout.row_bytes(across)
    require_bytes(unpacked, "tiles" if layout.tiled else "strips", name)
    if layout.reversed_bits and layout.bits >= 8:
        raise DataError(name, "TIFF stores the bits of its bytes reversed", "save it again")
    if layout.planar and layout.photometric == YCBCR:
        raise DataError(name, "TIFF holds YCbCr with each channel by itself", _AS_RGB)
    if layout.compression == JPEG and (layout.bits != 8 or layout.alpha):
        raise DataError(name, "TIFF holds JPEG of 12 bits or with alpha", "save it uncompressed")
    if 8 < layout.bits < 16 and layout.alpha:
        raise DataError(name, f"TIFF has alpha of {layout.bits} bits", _EIGHT)
    if layout.photometric == PALETTE and (
        layout.bits > 8 or len(layout.palette) != 3 << layout.bits
    ):
        raise DataError(name, "TIFF lacks its palette", REPLACE)
    if 0 in layout.counts[:parts] or 0 in layout.offsets[:parts]:
        raise DataError(name, "TIFF leaves out a part of its pixels", REPLACE)
