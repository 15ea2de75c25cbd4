"""Writing files so that nothing half-written is ever left under a final name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlvit_edge.errors import DataError
from qlvit_edge.text import plain

_LOCK_FILE = ".qlvit-edge.lock"

# `.NAME.qlvit-edge-PID-RANDOM.tmp.SUFFIX`: nobody else's files are called so.
_TEMPORARY = re.compile(r"\..*\.qlvit-edge-([0-9]+)-[a-z0-9_]+\.tmp(\..*)?", re.DOTALL)

# A name has 255 bytes at most, and a letter up to 4: the mark must still fit behind it.
_MOST_LETTERS = 40

_in_use: set[str] = set()
"""Temporary files that this process is writing."""

_tidied: set[Path] = set()
"""Folders that this process has already looked through for leftovers."""

_held: set[int] = set()
"""Descriptors of locks; a forked child closes them, or the lock would outlive its owner."""


def _leave_locks_to_the_parent() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _in_use.clear()


os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


@contextlib.contextmanager
def atomic_path(target: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success fsync it and rename it over.

    A link stays: what it leads to is written. On any exception the temporary file is removed
    and ``target`` is untouched. What killed commands left in the folder is removed first, see
    `remove_leftovers`.

    Args:
        target: the file.
        mode: who may do what with it; None: as the process's umask says.

    Raises:
        DataError: ``target`` is a device, a pipe or a socket, which a file would replace.
        OSError: the folder cannot be written, the disk is full, …
    """
    require_target(target)
    named, target = target, Path(os.path.realpath(target))
    _tidy(target.parent)
    prefix = f".{target.name[:_MOST_LETTERS]}.qlvit-edge-{os.getpid()}-"
    try:
        handle, name = tempfile.mkstemp(
            prefix=prefix, suffix=f".tmp{target.suffix}", dir=target.parent
        )
    except OSError as error:
        raise _about(error, named) from error
    temporary = Path(name)
    _in_use.add(temporary.name)
    try:
        with _locked_while_written(handle):
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask if mode is None else mode)
            temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            raise _about(error, named) from error
        raise
    finally:
        _in_use.discard(temporary.name)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` whose commands were killed.

    A file goes if its name has our form, the process named there is gone, and nobody holds
    it locked (a process in another container has a number that means nothing here).
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found is None or entry.name in _in_use or _lives(int(found[1])):
                continue
            if entry.is_file(follow_symlinks=False) and not _is_locked(entry.path):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other commands out of ``folder`` for this block.

    The kernel releases the lock when the process ends, however it ends; forked children do
    not hold it on. Nothing is left in the folder, except on network disks that cannot lock
    folders: there a hidden, empty file stays.

    Args:
        folder: an existing folder.

    Raises:
        DataError: another command holds the folder, or its file system has no locks.
        OSError: the folder cannot be opened.
    """
    descriptor = _lock(folder)
    try:
        yield
    finally:
        close_locked_file(descriptor)


def lock_open_file(descriptor: int) -> bool:
    """Lock an open file for this process; False where another process has it.

    Held until the descriptor is closed or the process ends; forked children do not hold it
    on. Locks of this kind (``flock``) and those of databases (``fcntl``) do not see each other.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    _held.add(descriptor)
    return True


def close_locked_file(descriptor: int) -> None:
    """Close a file that `lock_open_file` locked, and so release it."""
    _held.discard(descriptor)
    os.close(descriptor)


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


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex, read piece by piece.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ensure_writable(folder: Path) -> None:
    """Create ``folder`` and prove that a file can be written in it, before long work starts.

    Raises:
        OSError: the folder cannot be made or written (the command line turns this into
            one line and exit code 2).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _tidy(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise _about(error, folder) from error


def require_target(target: Path) -> None:
    """Refuse what a file cannot be written in place of.

    Raises:
        IsADirectoryError: ``target`` is a folder.
        DataError: it is a device, a pipe or a socket, or where this process prints.
        OSError: nobody can tell what it is.
    """
    try:
        found = target.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(found.st_mode):
        raise DataError(target, "it is a device or a pipe, not a file", "name a file")
    if any(_leads_to(descriptor, found) for descriptor in (1, 2)):
        raise DataError(target, "it is where this command prints", "name another file")


def require_other(target: Path, *read: Path) -> None:
    """Refuse to write over what the same command reads.

    Args:
        target: the file to write; need not be there.
        read: what is read.

    Raises:
        DataError: the target is one of these.
    """
    if target.exists() and any(path.exists() and path.samefile(target) for path in read):
        raise DataError(target, "is read by this command", "write to another file")


def _leads_to(descriptor: int, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), found)
    except OSError:  # closed
        return False


def _tidy(folder: Path) -> None:
    """Look for leftovers, once in a folder: it may hold the pictures of a whole night."""
    if folder not in _tidied:
        _tidied.add(folder)
        remove_leftovers(folder)


@contextlib.contextmanager
def _locked_while_written(handle: int) -> Iterator[None]:
    try:
        # Where there are no locks, the process's number in the name has to do.
        with contextlib.suppress(OSError):
            lock_open_file(handle)
        yield
    finally:
        close_locked_file(handle)


def _lock(folder: Path) -> int:
    for place, flags in ((folder, os.O_RDONLY), (folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT)):
        descriptor = os.open(place, flags, 0o666)
        try:
            if lock_open_file(descriptor):
                return descriptor
            raise DataError(
                folder, "another command is writing there", "wait for it or choose another folder"
            )
        except OSError:  # network disks lock no folders, some lock nothing
            os.close(descriptor)
        except DataError:
            os.close(descriptor)
            raise
    raise DataError(folder, "its file system has no locks", "choose a local disk")


def _lives(process: int) -> bool:
    """Tell whether a process with this number goes on; this one's old files are not its own."""
    return process != os.getpid() and Path(f"/proc/{process}").exists()


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _about(error: OSError, target: Path) -> OSError:
    """Return the same error about ``target``: what the user named, not a temporary file."""
    return OSError(error.errno, error.strerror or str(error), str(target))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
