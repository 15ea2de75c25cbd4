"""A run's hold on its results file: no second run, no file exchanged under it, room to end.

Other programs may read the file, and write to it in between; only runs exclude one another.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import IO

from qlvit_edge.errors import DataError, ResultsLostError
from qlvit_edge.files import close_locked_file, lock_open_file

HEAD = b"SQLite format 3\0"

RESERVE_BYTES = 128 * 1024
"""Space kept back so that a run which filled the disk can still note how it ended."""

NETWORK_DISKS = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "glusterfs"}
    | {"lustre", "ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"}
)
"""File systems that several machines see: SQLite's write-ahead log is not safe there."""

Identity = tuple[int, int]
"""Device and number of a file, whatever it is called."""

_claimed: set[Identity] = set()
"""Results files of this process's runs."""


class Claim:
    """A results file that is held for one run until `release`.

    Attributes:
        path: the file.
        existed: whether something was there before.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file and keep other runs out.

        Raises:
            DataError: there is something else of that name, it cannot be written, lies on a
                network disk, or another run is writing to it.
        """
        self.path = path
        self.existed = check_target(path)
        system = file_system(path.parent)
        if system in NETWORK_DISKS:
            raise DataError(
                path,
                f"it lies on a network disk ({system}), where results are not safe",
                "choose a local disk and copy the file after the run",
            )
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            finding = f"it cannot be written ({(error.strerror or str(error)).lower()})"
            remedy = "check the permissions or choose another place"
            raise DataError(path, finding, remedy) from error
        try:
            self._lock()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._identity = _of(os.fstat(self._descriptor))
        _claimed.add(self._identity)
        self._reserve: IO[bytes] | None = None
        self._log: Identity | None = None
        self._index: Identity | None = None

    def watch_log(self) -> None:
        """Remember the write-ahead log and its index, once the database has made them."""
        self._log = _identity(self._log_path)
        self._index = _identity(self._index_path)

    def lost(self) -> ResultsLostError | None:
        """Return what `require_in_place` raises; None where the file is in its place."""
        try:
            self.require_in_place()
        except ResultsLostError as error:
            return error
        return None

    def require_in_place(self) -> None:
        """Notice that the file, or the log beside it, is no longer what was opened.

        Raises:
            ResultsLostError: it was deleted, moved, replaced, emptied or overwritten.
        """
        now = _identity(self.path)
        if now is None:
            raise _lost(self.path, "it was deleted or moved away")
        if now != self._identity:
            raise _lost(self.path, "it was replaced by another file")
        if self._log is None:
            return
        if _identity(self._log_path) != self._log:
            raise _lost(self._log_path, "the results file's log was deleted or moved")
        if _identity(self._index_path) != self._index:
            raise _lost(
                self._index_path, "the index of the results file's log was deleted or moved"
            )
        if os.pread(self._descriptor, len(HEAD), 0) != HEAD:
            raise _lost(self.path, "it was emptied or overwritten")

    def keep_reserve(self) -> None:
        """Set space aside, in a file without a name; does nothing where there is none."""
        with contextlib.suppress(OSError):
            self._reserve = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            os.posix_fallocate(self._reserve.fileno(), 0, RESERVE_BYTES)

    def use_reserve(self) -> None:
        """Give the space back, for the last thing that has to be written."""
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log in bytes."""
        try:
            return self._log_path.stat().st_size
        except OSError:
            return 0

    def release(self) -> None:
        """Let go; the database must be closed before, as closing a file drops its locks."""
        self.use_reserve()
        self._remove_stranded_log()
        _claimed.discard(self._identity)
        close_locked_file(self._descriptor)

    def remove(self) -> None:
        """Remove what this run has made."""
        for ending in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                Path(f"{self.path}{ending}").unlink()

    @property
    def _log_path(self) -> Path:
        return Path(f"{self.path}-wal")

    @property
    def _index_path(self) -> Path:
        return Path(f"{self.path}-shm")

    def _lock(self) -> None:
        try:
            locked = lock_open_file(self._descriptor)
        except OSError as error:
            finding = f"its file system has no locks ({error.strerror})"
            raise DataError(self.path, finding, "choose a local disk") from error
        if not locked:
            raise _in_use(self.path)

    def _remove_stranded_log(self) -> None:
        """Remove this run's emptied log where the file itself was taken away."""
        if _identity(self.path) is not None or self._log is None:
            return
        if _identity(self._log_path) == self._log and self.log_bytes() == 0:
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self.path}{ending}").unlink()


def file_system(path: Path, root: Path = Path("/")) -> str:
    """Return the type of the file system that ``path`` lies on, ``""`` where that is hidden.

    Args:
        path: of a file or folder.
        root: where `/proc` lies.
    """
    number = path.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    with contextlib.suppress(OSError):
        listed = root / "proc/self/mountinfo"
        mounts = listed.read_text(encoding="utf-8", errors="replace")
        for line in mounts.splitlines():
            mount, _, kind = line.partition(" - ")
            if mount.split()[2] == wanted:
                return kind.split()[0]
    return ""


def check_target(path: Path) -> bool:
    """Return whether there is a database to add to; refuse everything else that is there.

    Raises:
        DataError: its folder does not exist, or it is no results file.
    """
    if not path.parent.is_dir():
        raise DataError(path, "its folder does not exist", f"make {path.parent} first")
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise DataError(path, "it is not a file", "name a file for the results")
    # To open and close it again would drop the locks that SQLite holds for this process.
    if _of(status) in _claimed:
        raise _in_use(path)
    with path.open("rb") as stream:
        head = stream.read(len(HEAD))
    # An empty file is what is left when a run is killed before its first write.
    if head not in (b"", HEAD):
        raise DataError(path, "it is not a results file", "choose another name")
    return True


def _in_use(path: Path) -> DataError:
    return DataError(
        path,
        "another run is writing to it",
        "wait until that has ended or choose another name",
    )


def _lost(path: Path, finding: str) -> ResultsLostError:
    return ResultsLostError(
        path,
        f"{finding} while the run was writing to it",
        "leave it in place until the run has ended; start the run again",
    )


def _identity(path: Path) -> Identity | None:
    try:
        return _of(path.stat())
    except OSError:
        return None


def _of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
