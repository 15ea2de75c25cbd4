"""Standard output and standard error that no text and no reader can break.

While a command runs, `sys.stdout` and `sys.stderr` are outlets: what a terminal would obey is
escaped, whoever wrote it; letters that the encoding lacks are replaced; a reader that goes away
(`| head`) or a closed descriptor loses output, not the command with its work and its exit code;
and a write that failed otherwise (a full disk) is known at the end.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from qlvit_edge.text import plain

_HANDLER = "qlvit-edge"
_IN_ASCII = {
    "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+/-", "°": " deg ", "µ": "u",
    "✓": "+", "→": "->", "≤": "<=", "≥": ">=", "‘": "'", "’": "'", "“": '"', "”": '"', "│": "|",
    "─": "-", "━": "-",
}  # fmt: skip
"""How our own signs are written where the encoding lacks them."""


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Write a sign in ASCII, and any other letter as JSON writes it: a JSON text stays one."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(c) or _as_json(c) for c in lacking), error.end


def _as_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


codecs.register_error(_HANDLER, _replace)


def _shown(text: str) -> str:
    """Text without what drives a terminal; line ends, `\\r\\n` of a CSV too, stay as they are."""
    *lines, rest = text.split("\n")
    ended = []
    for line in lines:
        end = "\r\n" if line.endswith("\r") else "\n"
        ended.append(plain(line.removesuffix("\r"), keep="\t") + end)
    return "".join(ended) + plain(rest, keep="\t")


class Outlet(io.TextIOBase):
    """A text stream that escapes what it writes and survives what happens to its reader.

    It has no `buffer`: bytes would pass by the escaping.

    Attributes:
        lost: the first error of a write, other than a reader that went away.
        styled: the same stream for text that was escaped already and carries colours of ours;
            see `qlvit_edge.cli.console`.
        is_muted: writes nothing: of several processes that do one thing, another one speaks.
    """

    def __init__(self, stream: TextIO, owner: Outlet | None = None) -> None:
        self._stream = stream
        self._owner = owner or self
        self._dead = False
        self.lost: OSError | None = None
        self.is_muted = False
        self.styled = self if owner else Outlet(stream, self)
        if owner is None and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write text; nothing any more after a failure."""
        if not isinstance(text, str):
            raise TypeError("text is written here, not bytes")
        if self._owner is self:
            text = _shown(text)
        if not self._owner._dead and not self._owner.is_muted:
            try:
                self._stream.write(text)
            except OSError as error:
                self._owner._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flush; a failure is noted as one of `write`."""
        if not self._owner._dead:
            try:
                self._stream.flush()
            except OSError as error:
                self._owner._fail(error)

    def _fail(self, error: OSError) -> None:
        self._dead = True
        if error.errno != errno.EPIPE:
            self.lost = error
        # What is still buffered, here or at the interpreter's end, goes nowhere without a word.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()

    def close(self) -> None:
        """Nothing: the stream is another's."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._stream.isatty() and not self._owner.is_muted

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Yes."""
        return True


@contextlib.contextmanager
def outlets(*, muted: bool = False) -> Iterator[Outlet]:
    """Put outlets in place of `sys.stdout` and `sys.stderr` for this block.

    Args:
        muted: they write nothing, until `unmute`.

    Yields:
        That of standard output, to be flushed and asked for what was lost.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    errors = [stream.errors if isinstance(stream, io.TextIOWrapper) else None for stream in before]
    out, err = map(Outlet, before)
    out.is_muted = err.is_muted = muted
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        for outlet in (out, err):
            outlet.flush()
        sys.stdout, sys.stderr = before
        for stream, handler in zip(before, errors, strict=True):
            if handler is not None and isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=handler)


def unmute() -> None:
    """Let a process speak whose outlets were muted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Outlet):
            stream.is_muted = False


def _open_closed_descriptors() -> None:
    """Let a standard descriptor that was closed (`>&-`) lead nowhere.

    Else the next file that is opened would get its number, and what native code prints would
    be written into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
                os.set_inheritable(opened, True)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def flush() -> None:
    """Hand on what is still buffered for the user; what nobody takes is dropped."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
