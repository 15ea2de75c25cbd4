"""Pictures out of an endless HTTP answer: `multipart/x-mixed-replace`, as cameras send it.

Cameras disagree with the standard (RFC 2046) and with their own headers: lengths are
missing or wrong, the boundary's dashes are written twice or not at all, lines end with a
bare newline. So a length is believed only where the boundary follows it, and the boundary
is the one that the body begins with. Whether a part is a whole picture is for the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPException

MOST_BYTES = 64 * 1024 * 1024
"""A part of more bytes is no picture of a camera."""

MOST_HEAD = 16 * 1024
"""Headers of a part of more bytes, or as much before the first boundary, are none."""

CHUNK = 64 * 1024

_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*[ \t]*:")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*(\d{1,12})[ \t]*\r?$")
_KIND = re.compile(rb"(?im)^content-type[ \t]*:[ \t]*([^\s;]+)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


class NoParts(ValueError):
    """The bytes are not parts between boundaries; the text says why."""


class Interrupted(OSError):
    """The connection ended without the closing boundary."""


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type header names, quoted or not; "" without one."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary", "")
    return boundary.strip() if isinstance(boundary, str) else ""


class _Buffer:
    """Bytes that came and were not used yet."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._failure: Exception | None = None
        self.data = bytearray()

    def more(self) -> bool:
        """Wait for more; False when none will come, see `interrupted`."""
        if len(self.data) > MOST_BYTES:
            raise NoParts(f"a picture has more than {MOST_BYTES >> 20} MiB")
        try:
            chunk = self._read(CHUNK)
        except (OSError, HTTPException) as error:
            self._failure, chunk = error, b""
        self.data += chunk
        return bool(chunk)

    def take(self, count: int) -> bytes:
        count = max(0, count)
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    def interrupted(self) -> Interrupted:
        """Why there was no more."""
        if isinstance(self._failure, TimeoutError):
            return Interrupted("nothing came for a while")
        return Interrupted("the connection was closed")


def parts(read: Callable[[int], bytes], boundary: str) -> Iterator[bytes]:
    """Give the body of each part that may be a picture, as it comes, whole or not.

    Args:
        read: gives up to so many bytes, as soon as some are there; ``b""`` at the end.
        boundary: what the header names, without the dashes before it; may be wrong or "".

    Raises:
        NoParts: there is no boundary, or a part is too long.
        Interrupted: the bytes end without the closing boundary.
    """
    buffer = _Buffer(read)
    token = _first_boundary(buffer, boundary.encode("latin-1", "replace"))
    # The line's end belongs to it, so that no longer word is taken for it.
    line = re.compile(re.escape(token) + rb"(--|[ \t]*\r?\n)")
    closing = False
    while not closing:
        head = _head(buffer, line)
        kind = _KIND.search(head)
        named = kind.group(1).lower() if kind else b""
        body = _body(buffer, line, _length(head))
        if (head.strip() or body.strip()) and (
            not named or named.startswith(b"image/") or named.endswith(b"octet-stream")
        ):
            stripped = body.lstrip(b"\r\n")
            yield stripped if stripped.startswith(b"\xff\xd8") else body
        closing = _closing_boundary(buffer, line)


def _first_boundary(buffer: _Buffer, named: bytes) -> bytes:
    """Read up to the first part's headers and return the boundary as the body writes it."""
    known = {named, b"--" + named} - {b"", b"--"}
    while True:
        while (end := buffer.data.find(b"\n")) >= 0:
            if _HEADER.match(buffer.data) and named:  # the first boundary was left out
                return named if named.startswith(b"--") else b"--" + named
            line = bytes(buffer.data[:end]).rstrip()
            buffer.take(end + 1)
            if line in known or (line.startswith(b"--") and len(line) > 2):
                return line
            if len(line) > MOST_HEAD:
                raise NoParts("no boundary between pictures was found")
        if len(buffer.data) > MOST_HEAD:
            raise NoParts("no boundary between pictures was found")
        if not buffer.more():
            raise buffer.interrupted()


def _head(buffer: _Buffer, line: re.Pattern[bytes]) -> bytes:
    """Return a part's headers and drop the blank line after them."""
    while True:
        # No headers; or a second boundary in their place: an empty part.
        if buffer.data.startswith((b"\r\n", b"\n")):
            buffer.take(2 if buffer.data.startswith(b"\r") else 1)
            return b""
        if line.match(buffer.data):
            return b""
        found = _HEAD_END.search(buffer.data, 0, MOST_HEAD)
        if found:
            return buffer.take(found.end())
        if len(buffer.data) > MOST_HEAD:
            raise NoParts("the headers of a picture do not end")
        if not buffer.more():
            raise buffer.interrupted()


def _length(head: bytes) -> int:
    """Return the length that a part's headers claim, 0 where they claim none worth believing."""
    found = _LENGTH.search(head)
    length = int(found.group(1)) if found else 0
    return length if length <= MOST_BYTES else 0


def _body(buffer: _Buffer, line: re.Pattern[bytes], length: int) -> bytes:
    """Return a part's body, up to the boundary after it or the end of what came.

    A JPEG ends where it says itself; waiting for the boundary would delay every picture
    until the next one comes.
    """
    near: re.Match[bytes] | None = None
    searched, walked = 0, 2
    while True:
        near = near or line.search(buffer.data, searched)
        limit = near.start() if near else len(buffer.data)
        if near or buffer.data.find(b"\xff\xd9", searched) >= 0:
            end, walked = _jpeg_end(buffer.data, walked)
            if end is not None and end <= limit:
                return buffer.take(end)
        if length and _boundary_at(buffer.data, line, length):
            return buffer.take(length)
        if near and (len(buffer.data) > length or _HEADER.match(buffer.data, near.end())):
            return _without_newline(buffer.take(near.start()))
        # What lies in the last bytes may be half a boundary.
        searched = max(0, len(buffer.data) - len(line.pattern) - 64)
        if not buffer.more():
            return buffer.take(near.start() if near else len(buffer.data))


def _boundary_at(data: bytearray, line: re.Pattern[bytes], length: int) -> bool:
    """Tell whether the boundary lies where the length says, after a newline or right there."""
    after = bytes(data[length : length + 2])
    skipped = 2 if after == b"\r\n" else 1 if after[:1] == b"\n" else 0
    return line.match(data, length + skipped) is not None


def _without_newline(body: bytes) -> bytes:
    return body.removesuffix(b"\n").removesuffix(b"\r")


def _closing_boundary(buffer: _Buffer, line: re.Pattern[bytes]) -> bool:
    """Skip to the end of the next boundary; tell whether it is the last one."""
    while True:
        found = line.search(buffer.data)
        if found:
            last = found.group(1) == b"--"  # what is taken below, the match would not find again
            buffer.take(found.end())
            return last
        buffer.take(len(buffer.data) - len(line.pattern) - 64)
        if not buffer.more():
            raise buffer.interrupted()


def jpegs(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Give the JPEGs of a stream that has nothing between them, whole or not.

    A JPEG in which the next one begins was cut; what lies between two is skipped.

    Raises:
        NoParts: a picture is too long.
        Interrupted: the bytes end, which is how such a stream ends.
    """
    buffer = _Buffer(read)
    walked = 2
    while True:
        start = buffer.data.find(b"\xff\xd8\xff")
        buffer.take(start if start >= 0 else len(buffer.data) - 2)
        end, walked = _jpeg_end(buffer.data, walked) if start >= 0 else (None, 2)
        if end is not None:
            yield buffer.take(end)
            walked = 2
        elif not buffer.more():
            if start >= 0:
                yield buffer.take(len(buffer.data))
            raise buffer.interrupted()


def one_picture(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Give the whole of an answer that is one picture, of any format; then it is over.

    Args:
        read: see `parts`.

    Raises:
        NoParts: it is too long.
    """
    buffer = _Buffer(read)
    while buffer.more():
        pass
    yield buffer.take(len(buffer.data))


def _jpeg_end(data: bytearray, position: int) -> tuple[int | None, int]:
    """Return where the JPEG at the start of ``data`` ends, and how far it was walked.

    The end is None where it goes on: with more data it is walked on from there, so that no stream
    makes this program walk all of a picture again for every piece of it.

    Args:
        data: what came.
        position: where to begin, 2 at first.
    """
    if data[:2] != b"\xff\xd8":
        return None, position
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        marker = found.group(1)[0]
        if marker == 0xD9:
            return found.end(), position
        if marker == 0xD8:
            return found.start(), position
        if marker == 0x01:
            position = found.end()
            continue
        if len(data) < found.end() + 2:
            return None, position
        position = found.end()
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return None, max(position, len(data) - 1)  # the last byte may begin a marker
