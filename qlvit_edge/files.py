"""Writing files so that nothing half-written is ever left under a final name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


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
