"""Files of people: read within bounds, and written so that nothing half-written is ever left."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from qlvit_edge.text import plain

MAX_JSON_BYTES = 32 * 1024 * 1024
MAX_JSON_DIGITS = 100
"""Of one number: the largest float has 309, no count or hash of ours more than 20."""


class UnreadableFileError(ValueError):
    """A file that cannot be what it should be; the text says what was found, as in an error."""


def read_regular(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    A pipe or device is refused without waiting for it.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFileError: it is a folder, no regular file, too large, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(f"cannot be read ({reason.lower()})") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableFileError("is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFileError("is not a regular file")
        if status.st_size > limit:
            raise UnreadableFileError(f"has {status.st_size:,} bytes, at most {limit:,} are read")
        # A file of /proc says 0 bytes and has more; one may grow while it is read.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UnreadableFileError(f"cannot be read ({reason})") from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnreadableFileError(f"has more than {limit:,} bytes")
    return content


def read_json(path: Path, limit: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file that a person named; see `parse_json`.

    Raises:
        FileNotFoundError: there is none.
        UnreadableFileError: it is no regular file, too large, or not such JSON.
    """
    return parse_json(read_regular(path, limit))


def parse_json(content: bytes) -> Any:
    """Return what JSON in UTF-8 says, if it says one thing and only finite numbers.

    Raises:
        UnreadableFileError: not JSON, nested too deeply, a key twice in one object, a number
            that is not finite or of more than `MAX_JSON_DIGITS` digits, half a letter.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            parse_int=_integer,
            parse_float=_real,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnreadableFileError:
        raise
    except RecursionError:
        raise UnreadableFileError("is nested too deeply") from None
    except UnicodeEncodeError:
        raise UnreadableFileError("holds half a letter (a lone surrogate)") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableFileError(f"is not JSON ({error})") from None
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_JSON_DIGITS:
        raise UnreadableFileError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _real(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise UnreadableFileError(f"holds {text[:20]}, which is too large a number")
    return value


def _no_number(text: str) -> NoReturn:
    raise UnreadableFileError(f"holds {text}, which is not a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableFileError(f"holds the key {plain(twice[:60])!r} twice in one object")
    return found


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success fsync it and rename it over.

    On any exception the temporary file is removed and ``target`` is untouched.

    Raises:
        OSError: the folder cannot be written, the disk is full, …
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=f".tmp{target.suffix}", dir=target.parent
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that `atomic_path` left in ``folder`` when it was killed."""
    for leftover in folder.glob(".*.????????.tmp*"):
        leftover.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target`` atomically and durably."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write ``content`` as UTF-8 to ``target`` atomically and durably."""
    write_bytes(target, content.encode("utf-8"))


def write_json(target: Path, content: Any) -> None:
    """Write ``content`` as indented JSON to ``target`` atomically and durably."""
    write_text(target, json_text(content) + "\n")


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON that is safe to print.

    Letters of any language stay as they are; characters that a terminal would obey (escapes,
    C1 controls, changes of writing direction) are written as ``\\uXXXX``, whoever named them.
    """
    return plain(json.dumps(content, indent=2, ensure_ascii=False), keep="\n")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def ensure_writable(folder: Path) -> None:
    """Create ``folder`` and prove that a file can be written in it, before long work starts.

    Raises:
        OSError: the folder cannot be made or written (the command line turns this into
            one line and exit code 2).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise _about(error, folder) from error


def require_no_folder(target: Path) -> None:
    """Refuse a folder where a file is to be written.

    Raises:
        IsADirectoryError: ``target`` is a folder.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))


def _about(error: OSError, target: Path) -> OSError:
    """Return the same error about ``target``: what the user named, not a temporary file."""
    return OSError(error.errno, error.strerror or str(error), str(target))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
