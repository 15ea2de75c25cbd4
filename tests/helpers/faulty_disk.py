"""Disks of a store that fail: at one step, with an error or for good, and forget what they may.

What a power cut may leave is modelled as POSIX allows it: a file's content is there for certain
only as it was when the file was last synchronised, a name only as it was when its folder was.
Anything else may be there or not, each for itself.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from qlvit_edge.delivery.disk import Disk


class PowerCut(BaseException):
    """The machine is off: nothing that follows on this disk happens."""


class QuickDisk(Disk):
    """A disk that waits for nothing, for checks after the fault."""

    def sync_file(self, descriptor: int) -> None:
        """Nothing is waited for."""

    def sync_folder(self, path: Path) -> None:
        """Nothing is waited for."""


class SteppedDisk(QuickDisk):
    """A disk that does something before one of its steps; the first one is number 0.

    Attributes:
        steps: what was done so far: operation and name.
    """

    def __init__(self, at: int = -1, fault: Callable[[], None] = lambda: None) -> None:
        self._at, self._fault = at, fault
        self.steps: list[str] = []

    def _step(self, what: str, path: Path | None = None) -> None:
        self.steps.append(what if path is None else f"{what} {path.name}")
        if len(self.steps) - 1 == self._at:
            self._fault()

    def make_folder(self, path: Path) -> None:
        """Make a folder."""
        self._step("make folder", path)
        super().make_folder(path)

    def create(self, path: Path) -> int:
        """Make a file."""
        self._step("create", path)
        return super().create(path)

    def write(self, descriptor: int, part: bytes) -> int:
        """Write in two parts, so that one can fail between them."""
        self._step("write")
        half = max(1, len(part) // 2) if len(part) < 1 << 20 else len(part)
        return super().write(descriptor, part[:half])

    def sync_file(self, descriptor: int) -> None:
        """Synchronise a file."""
        self._step("sync file")

    def close(self, descriptor: int) -> None:
        """Close a file, also when the step fails."""
        super().close(descriptor)
        self._step("close")

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file."""
        self._step("rename", new)
        super().rename(old, new)

    def sync_folder(self, path: Path) -> None:
        """Synchronise a folder."""
        self._step("sync folder", path)

    def remove(self, path: Path, folder: int | None = None) -> None:
        """Remove a file."""
        self._step("remove", path)
        super().remove(path, folder)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder."""
        self._step("remove folder", path)
        super().remove_folder(path)


@dataclass
class _File:
    synced: bytes = b""
    """Content when it was last synchronised; a file that never was is empty, or worse."""
    now: bytes = b""


@dataclass
class _Folder:
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    now: dict[str, _File | _Folder] = field(default_factory=dict)


class ForgetfulDisk(SteppedDisk):
    """A disk of which the power is cut, and that then may have forgotten what was not synchronised.

    It does everything on the real disk too, below ``root``, and keeps beside that what is certain.
    """

    def __init__(self, root: Path, at: int = -1) -> None:
        super().__init__(at, self._cut)
        self.root = root
        self._tree = self._read(root)
        self._open: dict[int, _File] = {}
        self._is_off = False

    def _cut(self) -> None:
        self._is_off = True
        raise PowerCut

    def _step(self, what: str, path: Path | None = None) -> None:
        if self._is_off:
            raise PowerCut
        super()._step(what, path)

    def make_folder(self, path: Path) -> None:
        """Make a folder."""
        super().make_folder(path)
        self._folder(path.parent).now[path.name] = _Folder()

    def create(self, path: Path) -> int:
        """Make a file."""
        descriptor = super().create(path)
        self._open[descriptor] = _File()
        self._folder(path.parent).now[path.name] = self._open[descriptor]
        return descriptor

    def write(self, descriptor: int, part: bytes) -> int:
        """Write a part."""
        count = super().write(descriptor, part)
        self._open[descriptor].now += part[:count]
        return count

    def sync_file(self, descriptor: int) -> None:
        """Make a file's content certain."""
        super().sync_file(descriptor)
        self._open[descriptor].synced = self._open[descriptor].now

    def close(self, descriptor: int) -> None:
        """Close a file."""
        self._open.pop(descriptor, None)
        super().close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file."""
        super().rename(old, new)
        self._folder(new.parent).now[new.name] = self._folder(old.parent).now.pop(old.name)

    def sync_folder(self, path: Path) -> None:
        """Make a folder's names certain."""
        super().sync_folder(path)
        folder = self._folder(path)
        folder.synced = dict(folder.now)

    def remove(self, path: Path, folder: int | None = None) -> None:
        """Remove a file."""
        super().remove(path, folder)
        del self._folder(path.parent).now[path.name]

    def remove_folder(self, path: Path) -> None:
        """Remove a folder."""
        super().remove_folder(path)
        del self._folder(path.parent).now[path.name]

    def go_on(self) -> None:
        """Go on in another process: the first one was ended, and the machine forgot nothing."""
        self._is_off, self._at = False, -1

    def leave(self, target: Path, names: float, contents: float, seed: int = 0) -> None:
        """Write what the power cut left into a new folder.

        Args:
            target: the folder, in place of ``root``.
            names: how likely a name, or its removal, is there that is not certain.
            contents: how likely a content is there that is not certain.
            seed: of the chance.
        """
        chance = random.Random(seed)
        _write(self._tree, target, chance, names, contents)

    def _read(self, path: Path) -> _Folder:
        """What lies there before, all of it certain."""
        found: dict[str, _File | _Folder] = {}
        for entry in sorted(path.iterdir()):
            if entry.is_dir():
                found[entry.name] = self._read(entry)
            else:
                found[entry.name] = _File(entry.read_bytes(), entry.read_bytes())
        return _Folder(dict(found), found)

    def _folder(self, path: Path) -> _Folder:
        if not path.is_relative_to(self.root):
            return _Folder()
        found = self._tree
        for part in path.relative_to(self.root).parts:
            below = found.now[part]
            assert isinstance(below, _Folder)
            found = below
        return found


def _write(
    folder: _Folder, target: Path, chance: random.Random, names: float, contents: float
) -> None:
    target.mkdir(parents=True)
    for name in sorted({*folder.synced, *folder.now}):
        old, new = folder.synced.get(name), folder.now.get(name)
        one = new if chance.random() < names else old
        if isinstance(one, _Folder):
            _write(one, target / name, chance, names, contents)
        elif one is not None:
            kept = one.now if chance.random() < contents else one.synced
            (target / name).write_bytes(kept)


OUTCOMES = ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.5, 0.0))
"""Likelihood of names and contents: all forgotten, none, contents only, names only, some."""


def raising(number: int) -> Callable[[], None]:
    """Return a fault: an error of the operating system."""

    def fault() -> None:
        raise OSError(number, os.strerror(number))

    return fault


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
