"""Everything that is ever done to a store's files, one operation per method.

Each is a step at which the power may fail: tests put a disk of their own here that fails, ends the
process, or forgets what was not synchronised, at every one of them. What root makes belongs to
whom the folder around it belongs to: a service must be able to write its store.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PART_BYTES = 1 << 20


class Disk:
    """The operations of the file system that a store is made of; raises OSError."""

    def make_folder(self, path: Path) -> None:
        """Make a folder; its parent has to be synchronised before it is there for good."""
        path.mkdir(mode=0o755)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def create(self, path: Path) -> int:
        """Make a file that was not there, and open it for writing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o644)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def write(self, descriptor: int, part: bytes) -> int:
        """Write some bytes; returns how many were."""
        return os.write(descriptor, part)

    def sync_file(self, descriptor: int) -> None:
        """Wait until a file's content is on the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Put a file in the place of another, in one step."""
        os.replace(old, new)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path, folder: int | None = None) -> None:
        """Remove a file; where its folder is open, from that one, whatever is renamed meanwhile."""
        os.unlink(path if folder is None else path.name, dir_fd=folder)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()


def write_file(disk: Disk, path: Path, content: bytes) -> None:
    """Write a file that was not there, and wait until its content is on the disk.

    Raises:
        OSError: naming the file.
    """
    try:
        descriptor = disk.create(path)
        try:
            view = memoryview(content)
            while view:
                view = view[disk.write(descriptor, bytes(view[:_PART_BYTES])) :]
            disk.sync_file(descriptor)
        finally:
            disk.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def replace_file(disk: Disk, path: Path, content: bytes) -> None:
    """Put a new content in a file's place: whoever reads sees the old one or the new one, whole.

    Raises:
        OSError: naming the file; the old content is still there, unless only the folder could not
            be synchronised: then it is the old or the new one.
    """
    new = path.with_name(f".{path.name}.new")
    if os.path.lexists(new):  # left by a process that was ended
        disk.remove(new)
    try:
        write_file(disk, new, content)
        disk.rename(new, path)
    except OSError as error:
        with suppress(OSError):
            disk.remove(new)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    disk.sync_folder(path.parent)


def make_folders(disk: Disk, path: Path) -> None:
    """Make a folder with those above it, where they are missing, for good.

    One that is there is synchronised too: who made it may have been ended before that.

    Raises:
        OSError: naming the folder.
    """
    if not path.is_dir():
        if path.parent != path:
            make_folders(disk, path.parent)
        with suppress(FileExistsError):  # another command was faster
            disk.make_folder(path)
    with suppress(PermissionError):  # of a folder above that is not ours
        disk.sync_folder(path.parent)


def remove_flat_folder(disk: Disk, path: Path) -> None:
    """Remove a folder and the files in it; there are no folders below it.

    A link in its place is removed itself, never what it leads to: who owns a store must not have
    root empty other folders.

    Raises:
        OSError: something cannot be removed.
    """
    if path.is_symlink():
        disk.remove(path)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in sorted(os.listdir(descriptor)):
            disk.remove(path / name, descriptor)
    finally:
        os.close(descriptor)
    disk.remove_folder(path)
