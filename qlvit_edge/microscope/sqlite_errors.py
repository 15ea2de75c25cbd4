"""What SQLite says, as this program's errors; and patience with other programs' locks."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from qlvit_edge.errors import DataError

T = TypeVar("T")

AGAIN_SECONDS = 0.25
"""Pause between two attempts on a locked file."""


class PassingError(DataError):
    """Nothing is stored now, nothing is wrong with the file, and a later try may do.

    Attributes:
        finding: what was found, without file and remedy.
        over: how it is said that this has passed.
        remedy: what is to be done where it does not pass.
    """

    over = ""
    remedy = ""

    def __init__(self, subject: object, finding: str, remedy: str) -> None:
        super().__init__(subject, finding, remedy)
        self.finding = finding


class LockedError(PassingError):
    """Another program has locked the file."""

    over = "free again"
    remedy = "close that program and start again; what was stored before is kept"


class FullDiskError(PassingError):
    """There is no room on the disk."""

    over = "room again"
    remedy = "free some space and start again; what was stored before is kept"


@contextlib.contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turn SQLite's errors, and names that it cannot store or read, into ours.

    Raises:
        LockedError: the file is locked.
        FullDiskError: the disk is full.
        DataError: any other of SQLite's errors.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        raise _kind(name)(path, *_finding(name, str(error))) from error
    except UnicodeEncodeError as error:
        finding = f"the name {error.object!a} is not UTF-8 and cannot be stored"
        raise DataError(path, finding, "rename that file or folder") from error
    except UnicodeDecodeError as error:  # SQLite names a table by bytes that are there by mistake
        raise DataError(
            path, "it is damaged (a name in it is not UTF-8)", "choose another name"
        ) from error


def patiently(
    action: Callable[[], T], seconds: float, note: Callable[[str], None], path: Path
) -> T:
    """Do what needs the file, again and again while another program has it locked.

    Args:
        action: what raises LockedError while it cannot be done.
        seconds: for how long at most.
        note: is told, once, that this is waited for.
        path: the file, for that note.

    Raises:
        LockedError: it was locked all the time.
    """
    started = time.monotonic()
    told = False
    while True:
        try:
            return action()
        except LockedError:
            if time.monotonic() - started >= seconds:
                raise
            if not told:
                note(f"{path}: another program has locked it; waiting up to {seconds:.0f} s")
                told = True
            time.sleep(AGAIN_SECONDS)


def _kind(name: str) -> type[DataError]:
    if name == "SQLITE_FULL":
        return FullDiskError
    return LockedError if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else DataError


def _finding(name: str, text: str) -> tuple[str, str]:
    """Finding and remedy for SQLite's name of an error."""
    if name == "SQLITE_FULL":
        return "the disk is full", "free some space and start again; stored results are kept"
    if name.startswith("SQLITE_IOERR_SHM"):
        return f"its file system has no shared memory ({text})", "choose a local disk"
    if name.startswith("SQLITE_IOERR"):
        return (
            f"it cannot be written ({text})",
            "check the disk and its free space; stored results are kept",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"it cannot be written ({text})", "check the permissions or choose another place"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another program has locked it", "close that program or choose another name"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"it is damaged ({text})", "choose another name"
    return f"SQLite refuses it ({text})", "choose another name"
