"""How much of the machine one picture may take, and the words to refuse one that wants more.

All limits are checked against what a file's header claims, before anything is decoded.
`docs/images.md` states them with the memory and time that they bound.
"""

from __future__ import annotations

from qlvit_edge.errors import DataError

MAX_BYTES = 512 * 1024 * 1024
"""Larger files are refused unread."""

MAX_PIXELS = 100_000_000
"""Width times height."""

MAX_SIDE = 65_535
"""Width, and height: what a JPEG can say at most."""

MAX_STORED = 400_000_000
"""Bytes of the decoded pixels as stored, and of whatever a decoder must hold beside them."""

MAX_SCAN_PIXELS = 1_000_000_000
"""Pixels of a JPEG times its scans: each scan of a progressive one visits all pixels again."""

MAX_PARTS = 100_000
"""Chunks, segments, strips, tiles or pages of one file."""

MAX_SLOW = 16_000_000
"""Bytes that are unpacked in Python where no faster reader is installed."""

REPLACE = "replace or remove the file"
SMALLER = "save it smaller, or in parts"


def require_size(kind: str, width: int, height: int, sample_bytes: float, name: str) -> None:
    """Refuse a picture that is empty or too large for the limits.

    Args:
        kind: its format, for the message.
        width: pixels.
        height: pixels.
        sample_bytes: bytes that one decoded pixel takes as stored, all channels together.
        name: what to call the file.

    Raises:
        DataError: it has no pixels, or more than a limit.
    """
    if width < 1 or height < 1:
        raise DataError(name, f"{kind} image without pixels", REPLACE)
    if width * height > MAX_PIXELS:
        raise DataError(
            name,
            f"claims {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million",
            SMALLER,
        )
    if max(width, height) > MAX_SIDE:
        finding = f"claims {width}x{height} pixels, more than {MAX_SIDE} along a side"
        raise DataError(name, finding, SMALLER)
    require_bytes(width * height * sample_bytes, f"{width}x{height} pixels", name)


def require_bytes(size: float, what: str, name: str) -> None:
    """Refuse what takes more than `MAX_STORED` bytes.

    Raises:
        DataError: it does.
    """
    if size > MAX_STORED:
        raise DataError(
            name,
            f"decoding its {what} takes {size / 1e6:.0f} MB, more than {MAX_STORED // 10**6}",
            SMALLER,
        )


def require_parts(count: int, name: str) -> None:
    """Refuse a file of more than `MAX_PARTS` parts.

    Raises:
        DataError: it has more.
    """
    if count > MAX_PARTS:
        raise DataError(name, f"consists of more than {MAX_PARTS} parts", "save it again")
